// The core behind a WebSocket of this page's own host: numbered calls, answers, updates, and coming back after a break.
// Not here: what is asked again after one (model/app.svelte.ts).

import type { Ask, Call, Problem, Tell, Update } from "../api";
import { Listeners, Refused, type Backend, type Status } from "./backend";

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 8_000;
const KEY = "tombolo-key";

/** Where a page stands, what it keeps for this tab, and how it asks: given by the browser, or by a test. */
export type Page = {
  location: Location;
  history: History;
  storage: Storage;
  ask: (path: string, body: string) => Promise<{ ok: boolean; text(): Promise<string> }>;
};

/**
 * The key of this tab. The token in the page's address buys one and works once; it is taken out of the address, so that
 * nobody copies it. After a reload the kept key serves. `null` = the link was used already.
 */
export async function takeKey({ location, history, storage, ask }: Page): Promise<string | null> {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token !== null) {
    history.replaceState(null, "", location.pathname + location.search);
    const answer = await ask("/v1/session", token);
    if (answer.ok) storage.setItem(KEY, await answer.text());
  }
  return storage.getItem(KEY);
}

/** Where the core listens for the page at `location`. */
export function address(location: Location, key: string): string {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  return `${scheme}//${location.host}/v1/interface?key=${encodeURIComponent(key)}`;
}

type Waiting = { resolve: (value: unknown) => void; reject: (reason: Refused) => void };

export class WebSocketBackend implements Backend {
  status: Status = "connecting";
  #address: string;
  #open: (address: string) => WebSocket;
  #unreachable: () => { message: string; hint: string };
  #socket: WebSocket | null = null;
  #next = 1;
  #waiting = new Map<number, Waiting>();
  /** Calls made before the first connection; they leave with it. */
  #early: Ask[] = [];
  #pause = FIRST_PAUSE_MS;
  #updates = new Listeners<Update>();
  #statuses = new Listeners<Status>();

  /** `unreachable` gives the words for calls that the core never saw. */
  constructor(
    to: string,
    unreachable: () => { message: string; hint: string },
    open: (address: string) => WebSocket = (at) => new WebSocket(at),
  ) {
    this.#address = to;
    this.#unreachable = unreachable;
    this.#open = open;
    this.#connect();
  }

  call(call: Call): Promise<unknown> {
    if (this.status === "lost") return Promise.reject(this.#refusal());
    return new Promise((resolve, reject) => {
      const ask: Ask = { ask: this.#next++, call };
      this.#waiting.set(ask.ask, { resolve, reject });
      if (this.status === "connected") this.#socket?.send(JSON.stringify(ask));
      else this.#early.push(ask);
    });
  }

  async attach(file: File): Promise<string> {
    const name = encodeURIComponent(file.name);
    const answer = await this.#http("/v1/files", { method: "POST", headers: { "tombolo-name": name }, body: file });
    return answer.text();
  }

  async bring(message: string, n: number): Promise<Blob> {
    return (await this.#http(`/v1/files/${message}/${n}`, {})).blob();
  }

  async #http(path: string, init: RequestInit): Promise<Response> {
    const query = new URL(this.#address).search;
    const answer = await fetch(path + query, init).catch(() => Promise.reject(this.#refusal()));
    if (answer.ok) return answer;
    throw new Refused((await answer.json()) as Problem);
  }

  subscribe(listener: (update: Update) => void): () => void {
    return this.#updates.add(listener);
  }

  watch(listener: (status: Status) => void): () => void {
    return this.#statuses.add(listener);
  }

  #connect(): void {
    const socket = this.#open(this.#address);
    this.#socket = socket;
    socket.onopen = () => {
      this.#pause = FIRST_PAUSE_MS;
      for (const ask of this.#early.splice(0)) socket.send(JSON.stringify(ask));
      this.#become("connected");
    };
    socket.onmessage = (event: MessageEvent) => this.#hear(JSON.parse(String(event.data)) as Tell);
    socket.onclose = () => {
      this.#become("lost");
      this.#early = [];
      for (const waiting of [...this.#waiting.values()]) waiting.reject(this.#refusal());
      this.#waiting.clear();
      setTimeout(() => this.#connect(), this.#pause);
      this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE_MS);
    };
  }

  #hear(tell: Tell): void {
    if ("told" in tell) {
      this.#updates.tell(tell.told);
      return;
    }
    const number = "answer" in tell ? tell.answer : tell.failed;
    const waiting = this.#waiting.get(number);
    this.#waiting.delete(number);
    if ("answer" in tell) waiting?.resolve(tell.value);
    else waiting?.reject(new Refused(tell.problem));
  }

  #refusal(): Refused {
    return new Refused({ code: "no_answer", ...this.#unreachable() });
  }

  #become(status: Status): void {
    if (this.status === status) return;
    this.status = status;
    this.#statuses.tell(status);
  }
}
