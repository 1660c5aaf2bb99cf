// One websocket that comes back by itself.  Knows nothing of what the messages mean.

const FIRST_MS = 500;
const MOST_MS = 10_000;
const ENDINGS = { 4401: ["signed-out", 5_000], 4403: ["forbidden", 30_000], 4429: ["crowded", 30_000] };

/** The wait before try number `attempt` (from 0): doubles up to 10 s, and half of it is left to chance. */
export function retryDelayMs(attempt, random = Math.random) {
  const most = Math.min(MOST_MS, FIRST_MS * 2 ** (attempt + 1));
  return Math.max(FIRST_MS, Math.round(most * (0.5 + random() / 2)));
}

/**
 * @param {object} options
 * @param {() => string} options.url asked before each try
 * @param {(message: object) => void} options.onMessage
 * @param {(link: {state: "connecting"|"open"|"waiting"|"resting"|"signed-out"|"forbidden"|"crowded", atMs: number, retryAtMs?: number, failures: number}) => void} options.onState
 */
export function connect({ url, onMessage, onState, Socket = WebSocket, random = Math.random }) {
  let socket = null;
  let attempt = 0;
  let timer = 0;

  function open() {
    clearTimeout(timer);
    onState({ state: "connecting", atMs: Date.now(), failures: attempt });
    socket = new Socket(url());
    const mine = socket;
    mine.onopen = () => onState({ state: "open", atMs: Date.now(), failures: attempt });
    mine.onmessage = ({ data }) => {
      attempt = 0; // only a server that really speaks ends the back-off
      onMessage(JSON.parse(data));
    };
    mine.onclose = ({ code }) => {
      if (mine === socket) wait(code);
    };
  }

  function wait(code) {
    socket = null;
    const [state, delayMs] = ENDINGS[code] ?? ["waiting", retryDelayMs(attempt++, random)];
    onState({ state, atMs: Date.now(), retryAtMs: Date.now() + delayMs, failures: attempt });
    timer = setTimeout(open, delayMs);
  }

  open();
  return {
    send: (message) => socket?.readyState === 1 && socket.send(JSON.stringify(message)),
    retryNow: () => socket === null && open(),
    /** Closes it until `retryNow`: nobody looks. */
    rest() {
      clearTimeout(timer);
      const unseen = socket;
      socket = null;
      unseen?.close();
      onState({ state: "resting", atMs: Date.now(), failures: 0 });
    },
    /** Gives up a socket that went silent; its own close event may take minutes. */
    abandon() {
      const silent = socket;
      if (silent === null) return;
      wait(0);
      silent.close();
    },
  };
}
