// The port to the core: everything that the interface can ask and be told. Not here: how it gets there (websocket.ts,
// memory.ts).

import type {
  Call,
  Conversation,
  Details,
  Founded,
  Hit,
  Link,
  Message,
  Problem,
  Receipt,
  Sent,
  Start,
  Text,
  Update,
  Version,
  Window,
} from "../api";

/** Whether the program on this machine answers. */
export type Status = "connecting" | "connected" | "lost";

export interface Backend {
  /** Rejects with [`Refused`] when the core says why it was not done. */
  call(call: Call): Promise<unknown>;
  /** Hands a file to the core; answers with what names it in `send`. Rejects as `call` does. */
  attach(file: File): Promise<string>;
  /** The bytes of a message's file, `n` from 1, fetched first if need be. Rejects as `call` does. */
  bring(message: string, n: number): Promise<Blob>;
  /** Returns how to stop. */
  subscribe(listener: (update: Update) => void): () => void;
  readonly status: Status;
  /** Tells every change of `status`. Returns how to stop. */
  watch(listener: (status: Status) => void): () => void;
}

/** The answer of each call. */
export type Answers = {
  start: Start;
  init: Start;
  conversations: Conversation[];
  create: Founded;
  accept: Founded;
  invite: Link;
  open: Window;
  around: Window;
  close: null;
  send: Sent;
  edit: null;
  delete: null;
  undo: null;
  react: null;
  pin: null;
  read: null;
  unread: null;
  typing: null;
  draft: Text;
  write_draft: null;
  search: Hit[];
  details: Details;
  history: Version[];
  receipts: Receipt[];
  thread: Message[];
  rename: null;
  topic: null;
  keep: null;
  cancel: null;
  reconnect: null;
};

/** One call with its answer's type. */
export async function ask<C extends Call>(backend: Backend, call: C): Promise<Answers[C["do"]]> {
  return (await backend.call(call)) as Answers[C["do"]];
}

/** A call that was not done, with what happened and what to do. */
export class Refused extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.message);
    this.problem = problem;
  }
}

/** A set of listeners, which every implementation of the port needs. */
export class Listeners<T> {
  #all = new Set<(value: T) => void>();

  add(listener: (value: T) => void): () => void {
    this.#all.add(listener);
    return () => this.#all.delete(listener);
  }

  tell(value: T): void {
    for (const listener of [...this.#all]) listener(value);
  }
}
