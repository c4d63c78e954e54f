// Asks for games anew: of a few the ones that changed, at once; of all of them now and then.

// Lists of all games are asked for at most this often; a library of thousands is megabytes, and
// asking for it takes at most a fifth of the time.
const REFRESH_MS = 250;
const REFRESH_PAUSE = 4;
// More than so many are asked for as all of them are.
const MAX_IDS = 100;

/** What is out of date: all games, or those with certain IDs. One request is out at a time. */
export class Refresh {
  #ids = new Set();
  #all = false;
  #notBefore = 0;
  #running = false;
  #wake = () => {};

  /** `list(params)` calls games.list; what it answers goes to `setGames` or `setSome(ids, games)`. */
  constructor({ list, setGames, setSome }) {
    this.list = list;
    this.setGames = setGames;
    this.setSome = setSome;
  }

  /** Games changed: these, or all if it is not said which. */
  stale(ids = null) {
    for (const id of ids ?? []) this.#ids.add(id);
    if (ids === null || this.#ids.size > MAX_IDS) this.#all = true;
    this.#wake();
    this.#run();
  }

  async #run() {
    if (this.#running) return;
    this.#running = true;
    try {
      while (this.#all || this.#ids.size) {
        if (this.#all && performance.now() >= this.#notBefore) await this.#askAll();
        else if (this.#ids.size && this.#ids.size <= MAX_IDS) await this.#askSome();
        else await this.#pause(this.#notBefore - performance.now());
      }
    } catch {
      // Not connected; coming back asks for all again.
      this.#ids.clear();
      this.#all = false;
    }
    this.#running = false;
  }

  async #askAll() {
    this.#all = false;
    this.#ids.clear();
    const start = performance.now();
    this.setGames(await this.list({}));
    const now = performance.now();
    this.#notBefore = now + Math.max(REFRESH_MS, REFRESH_PAUSE * (now - start));
  }

  async #askSome() {
    const ids = [...this.#ids];
    this.#ids.clear();
    this.setSome(ids, await this.list({ ids }));
  }

  /** Until that time has passed, or something else is out of date. */
  #pause(ms) {
    return new Promise((done) => {
      const timer = setTimeout(done, ms);
      this.#wake = () => { clearTimeout(timer); done(); };
    });
  }
}
