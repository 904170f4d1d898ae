// The hello that all contestants say, in JavaScript.

const BODY = Uint8Array.from("hello world\n", (char) => char.charCodeAt(0));

class Chunks {
  next() {
    return null;
  }

  close() {}
}

export const application = {
  Chunks,

  call() {
    return {
      status: 200,
      reason: "",
      headers: [["Content-Type", "text/plain; charset=utf-8"]],
      body: { tag: "bytes", val: BODY },
    };
  },
};
