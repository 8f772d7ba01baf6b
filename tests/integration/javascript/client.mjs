// Connects as told, tries each feature once, and prints what it got as one line of JSON.
import { io } from "socket.io-client";

const [url, transports] = process.argv.slice(2);
const options = { transports: transports.split(","), reconnection: false, forceNew: true };

const once = (socket, event) => new Promise((resolve) => socket.once(event, resolve));

const refused = async (namespace, auth) => {
  const socket = io(url + namespace, { ...options, auth });
  const error = await once(socket, "connect_error");
  socket.close();
  return { message: error.message, data: error.data };
};

const socket = io(url, { ...options, auth: { token: "right" } });
await once(socket, "connect");
while (socket.io.engine.transport.name !== options.transports.at(-1)) {
  await new Promise((resolve) => setTimeout(resolve, 10)); // the upgrade may come before or after
}

const results = {};
results.transport = socket.io.engine.transport.name;

const received = once(socket, "chat.receive");
results.ack = await socket.timeout(5000).emitWithAck("chat.send", { text: "hi", room: "lobby" });
results.received = await received;

const error = once(socket, "error");
results.failed = await socket.timeout(5000).emitWithAck("chat.send", { room: "lobby" });
results.error = await error;
results.unknown = await socket.timeout(5000).emitWithAck("nothing");

const reversed = await socket.timeout(5000).emitWithAck("reverse", Buffer.from([0, 1, 255]));
results.reversed = [...new Uint8Array(reversed)];

socket.on("question", (number, answer) => answer(number + 1));
results.answered = await socket.timeout(5000).emitWithAck("ask", 41);

results.refused = await refused("/", { token: "wrong" });
results.invalid = await refused("/", {});
results.nowhere = await refused("/nowhere", {});

const left = once(socket, "disconnect");
socket.emit("leave");
results.left = await left;

console.log(JSON.stringify(results));
socket.io.engine.close();
