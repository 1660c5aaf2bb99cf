import assert from "node:assert/strict";
import test, { mock } from "node:test";

import { bannerText, frozenText, needsBanner } from "../../../static/js/banner.js";
import { STALE_AFTER_MS, clockSkewS, isStale, linkState } from "../../../static/js/link.js";
import { connect, retryDelayMs } from "../../../static/js/socket.js";

const open = { state: "open", atMs: 0 };
const waiting = { state: "waiting", atMs: 0, retryAtMs: 4000 };

class FakeSocket {
  static all = [];
  readyState = 1;
  constructor(url) {
    this.url = url;
    FakeSocket.all.push(this);
  }
  send() {}
  close() {}
}

test("the page is live, stale, reconnecting or signed out", () => {
  assert.equal(linkState({ state: "connecting" }, null), "connecting");
  assert.equal(linkState(open, 400), "live");
  assert.equal(linkState(open, STALE_AFTER_MS + 1), "stale");
  assert.equal(linkState(waiting, 400), "reconnecting");
  assert.equal(linkState({ state: "signed-out" }, 400), "signed-out");
  assert.equal(linkState({ state: "forbidden" }, null), "forbidden");
});

test("numbers are grey within three seconds of the last frame", () => {
  const tickMs = 250;

  assert.ok(STALE_AFTER_MS + tickMs <= 3000);
});

test("the banner says how long nothing came, and when the next try is", () => {
  const moment = { socket: waiting, ageMs: 7400, lastAtS: Date.UTC(2026, 0, 1, 11, 24, 3) / 1000, nowMs: 1200, utc: true };

  assert.equal(bannerText("reconnecting", moment), "No data for 7 s, last 11:24:03. Trying again in 3 s.");
  assert.match(bannerText("signed-out", moment), /^You are signed out/);
});

test("each state that is not live has words of its own", () => {
  const moment = { socket: open, ageMs: 7400, lastAtS: 1, nowMs: 0, utc: true };
  const words = { stale: /open, but the gateway sends nothing/, connecting: /open, but the gateway sends nothing/, forbidden: /^Your account may not watch/, crowded: /^You have ten live pages open/ };

  for (const [link, text] of Object.entries(words)) {
    assert.match(bannerText(link, moment), text);
    assert.ok(needsBanner(link, { socket: open, nowMs: 6000 }), link);
  }
});

test("a page that waits for the first frame complains after a while", () => {
  assert.equal(needsBanner("connecting", { socket: open, nowMs: 1000 }), false);
  assert.equal(needsBanner("connecting", { socket: open, nowMs: 6000 }), true);
  assert.equal(needsBanner("live", { socket: open, nowMs: 6000 }), false);
});

test("the wait before a retry doubles to ten seconds, never less than half a second, half of it chance", () => {
  const shortest = [0, 1, 2, 3, 4, 9].map((attempt) => retryDelayMs(attempt, () => 0));
  const longest = [0, 1, 2, 3, 4, 9].map((attempt) => retryDelayMs(attempt, () => 1));

  assert.deepEqual(shortest, [500, 1000, 2000, 4000, 5000, 5000]);
  assert.deepEqual(longest, [1000, 2000, 4000, 8000, 10_000, 10_000]);
});

test("a socket that closes is opened again, later each time until a message comes", () => {
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  FakeSocket.all = [];
  const states = [];
  connect({ url: () => "ws://here", onMessage() {}, onState: (link) => states.push(link), Socket: FakeSocket, random: () => 1 });

  FakeSocket.all[0].onclose({ code: 1006 });
  mock.timers.tick(1000);
  FakeSocket.all[1].onclose({ code: 1006 });
  mock.timers.tick(2000);
  FakeSocket.all[2].onmessage({ data: "{}" });
  FakeSocket.all[2].onclose({ code: 1006 });

  assert.equal(FakeSocket.all.length, 3);
  assert.deepEqual(states.filter(({ state }) => state === "waiting").map((s) => s.retryAtMs - s.atMs), [1000, 2000, 1000]);
  mock.timers.reset();
});

test("signed out is told from a lost connection", () => {
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  FakeSocket.all = [];
  const states = [];
  connect({ url: () => "ws://here", onMessage() {}, onState: ({ state }) => states.push(state), Socket: FakeSocket });

  FakeSocket.all[0].onclose({ code: 4401 });

  assert.deepEqual(states, ["connecting", "signed-out"]);
  mock.timers.reset();
});

test("a silent socket is given up, and its late close starts no second try", () => {
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  FakeSocket.all = [];
  const socket = connect({ url: () => "ws://here", onMessage() {}, onState() {}, Socket: FakeSocket, random: () => 1 });

  socket.abandon();
  FakeSocket.all[0].onclose({ code: 1006 });
  mock.timers.tick(20_000);

  assert.equal(FakeSocket.all.length, 2);
  mock.timers.reset();
});

test("a clock that is three seconds off is mentioned", () => {
  assert.equal(clockSkewS(100, 101_000), null);
  assert.equal(clockSkewS(100, 105_000), 5);
  assert.equal(clockSkewS(100, 95_000), -5);
});

test("a page that asks every five seconds says so, and is stale after two lost answers", () => {
  const blocked = { ...waiting, failures: 3 };

  assert.equal(linkState(blocked, 6000, true), "polling");
  assert.equal(linkState(blocked, 13_000, true), "reconnecting");
  assert.equal(isStale(6000, true), false);
  assert.equal(linkState(open, 400, true), "live");
  assert.match(bannerText("polling", { socket: blocked, ageMs: 400, lastAtS: 1, nowMs: 0, utc: true }), /every 5 s/);
});

test("a frozen page says for how long and how far it is behind", () => {
  assert.equal(frozenText(1000, 13_400, 12), "frozen 00:12, 12 behind");
});

test("a tab nobody sees rests, and comes back when asked", () => {
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  FakeSocket.all = [];
  const states = [];
  const socket = connect({ url: () => "ws://here", onMessage() {}, onState: ({ state }) => states.push(state), Socket: FakeSocket, random: () => 1 });

  socket.rest();
  FakeSocket.all[0].onclose({ code: 1000 });
  mock.timers.tick(60_000);
  assert.equal(FakeSocket.all.length, 1);
  socket.retryNow();

  assert.deepEqual(states, ["connecting", "resting", "connecting"]);
  mock.timers.reset();
});
