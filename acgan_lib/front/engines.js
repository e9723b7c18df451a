// Where pictures come from: an engine answers render(request) -> Promise<frame>,
// frame = {n, h, w, c, bytes}, with n*h*w*c bytes. What a request shows depends on it and G alone.

import { newId } from "./ui.js";

/** The engine behind a live kernel: one message out, one message back, matched by id. */
export function kernelEngine(model) {
  const waiting = new Map();
  const heard = (message) => {
    const call = waiting.get(message.id);
    if (!call) return;
    waiting.delete(message.id);
    if (message.error) return call.reject(new Error(message.error));
    const bytes = Uint8Array.from(atob(message.frame.data), (s) => s.charCodeAt(0));
    call.resolve({ ...message.frame, bytes });
  };
  model.on("msg:custom", heard);
  return {
    render(request) {
      const id = newId();
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject });
        model.send({ id, request });
      });
    },
    close() { model.off("msg:custom", heard); },
  };
}

/** Renders the newest request only: while a frame is on its way, later ones replace each other. */
export function latestWins(engine, drawn, failed) {
  let busy = false, next = null;
  return async function ask(request) {
    next = request;
    if (busy) return;
    busy = true;
    while (next) {
      const now = next;
      next = null;
      try { drawn(await engine.render(now), now); } catch (error) { failed(error); }
    }
    busy = false;
  };
}
