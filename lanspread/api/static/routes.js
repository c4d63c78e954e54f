// Where one is: the token and the game that is open, in the address behind the #.
//
// The browser keeps that part to itself: it is sent to no server and in no Referer.

function parts() {
  return new URLSearchParams(location.hash.slice(1));
}

export const token = () => parts().get("token") ?? "";

export const openGame = () => parts().get("game");

/** Go to a game's page, or with null to the shelf. "Back" comes back here. */
export function go(gameId) {
  if (openGame() === gameId) return;
  const next = parts();
  if (gameId === null) next.delete("game");
  else next.set("game", gameId);
  history.pushState(null, "", `#${next}`);
  dispatchEvent(new Event("routechange"));
}

/** Call `show` when another game, or none, is to be shown. Another token is another page. */
export function watch(show) {
  const first = token();
  addEventListener("routechange", show);
  addEventListener("popstate", () => (token() === first ? show() : location.reload()));
}
