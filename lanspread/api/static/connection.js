// The WebSocket: calls and their answers, events, and coming back after it was lost.
//
// It is "connecting", "open", "lost" (and tried again), "denied" (the token is wrong) or "no-token".

const FIRST_RETRY_MS = 400;
const MAX_RETRY_MS = 8000;
const PULSE_MS = 10000;
const SILENCE_MS = 12000;

export class Connection extends EventTarget {
  #socket = null;
  #waiting = new Map();
  #nextId = 1;
  #retryMs = FIRST_RETRY_MS;
  #retry = 0;
  #pulse = 0;
  #greeted = false;

  constructor(token) {
    super();
    this.token = token;
    this.state = "connecting";
    // A laptop that wakes up need not wait for the back-off.
    addEventListener("online", () => this.#soon());
    document.addEventListener("visibilitychange", () => !document.hidden && this.#soon());
  }

  open() {
    if (!this.token) {
      this.#become("no-token");
      return;
    }
    this.#greeted = false;
    const socket = new WebSocket(`ws://${location.host}/ws?token=${encodeURIComponent(this.token)}`);
    this.#socket = socket;
    socket.onmessage = (message) => this.#receive(JSON.parse(message.data));
    socket.onclose = () => socket === this.#socket && this.#lost();
  }

  /** Make a call. Rejects with `{message, code, remedy}`. */
  call(method, params = {}) {
    return new Promise((resolve, reject) => {
      if (this.#socket?.readyState !== WebSocket.OPEN) {
        reject(gone());
        return;
      }
      const id = this.#nextId++;
      this.#waiting.set(id, { resolve, reject });
      this.#socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
    });
  }

  #receive(message) {
    if (message.method === "hello") {
      this.#greeted = true;
      this.#tell("hello", message.params);
      this.#become("open");
      clearInterval(this.#pulse);
      this.#pulse = setInterval(() => this.#check(), PULSE_MS);
    } else if (message.method === "event") {
      this.#tell("event", message.params);
    } else if (this.#waiting.has(message.id)) {
      const { resolve, reject } = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      const { error, result } = message;
      // A fault of the protocol has no remedy of its own: this page asked for what is not to be had.
      if (error) reject({ remedy: "Reload the page", message: error.message, code: error.code, ...error.data });
      else resolve(result);
    }
  }

  // A machine that is switched off closes nothing: whoever does not answer is gone.
  async #check() {
    const socket = this.#socket;
    const late = setTimeout(() => socket === this.#socket && this.#lost(), SILENCE_MS);
    try {
      this.#tell("status", await this.call("status"));
      // Only one that lasts: what is cut off as soon as it stands must not be tried all the time.
      this.#retryMs = FIRST_RETRY_MS;
    } catch {
      // Said by `#lost`.
    } finally {
      clearTimeout(late);
    }
  }

  #lost() {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    clearInterval(this.#pulse);
    for (const { reject } of this.#waiting.values()) reject(gone());
    this.#waiting.clear();
    if (this.state !== "denied") this.#become("lost");
    if (!this.#greeted) this.#ask();
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.open(), this.#retryMs * (0.75 + Math.random() / 2));
    this.#retryMs = Math.min(this.#retryMs * 2, MAX_RETRY_MS);
  }

  // A browser does not say why a WebSocket was refused; a plain request does.
  async #ask() {
    try {
      const answer = await fetch("/metrics", { headers: { Authorization: `Bearer ${this.token}` } });
      if (this.state !== "open") this.#become(answer.status === 401 ? "denied" : "lost");
    } catch {
      if (this.state !== "open") this.#become("lost");
    }
  }

  #soon() {
    if (this.state !== "lost" || this.#socket !== null) return;
    clearTimeout(this.#retry);
    this.#retryMs = FIRST_RETRY_MS;
    this.open();
  }

  #become(state) {
    if (this.state === state) return;
    this.state = state;
    this.#tell("state", state);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function gone() {
  return { code: "disconnected", message: "The connection to lanspread is lost", remedy: "it is tried again by itself" };
}
