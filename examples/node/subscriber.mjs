// Receives depth frames of sweepdepth in Node.js, checks them, and prints a line for each.
//
//   npm ci
//   node subscriber.mjs tcp://127.0.0.1:5560
//   node subscriber.mjs tcp://camera:5560 --keys me.key_secret --server-key camera.key
//
// With --json N it prints N depth frames (and what comes between them) as one line of JSON each and leaves.
// With --newest MS it looks at the newest frame only, and works on each for MS milliseconds.
import { readFileSync } from "node:fs";
import { endianness } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import * as zlib from "node:zlib";
import { Subscriber } from "zeromq";

const SCHEMA = "sweepdepth/1";
const MAX_HEADER_BYTES = 65_536;
const MAX_ARRAY_BYTES = 128 * 2 ** 20;
const COMPRESSED = "<f4/diff/zigzag/shuffle/zstd";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: "string" },
    keys: { type: "string" },
    "server-key": { type: "string" },
    newest: { type: "string" },
  },
});
const address = positionals[0] ?? "tcp://127.0.0.1:5560";
const limit = Number(options.json ?? Infinity);

// The key files hold lines such as `public-key = "…"`.
function key(file, name) {
  const found = readFileSync(file, "utf8").match(new RegExp(`^\\s*${name}\\s*=\\s*"(.{40})"`, "m"));
  if (!found) throw new Error(`${file}: holds no ${name}`);
  return found[1];
}

function connect() {
  const subscriber = new Subscriber({ receiveHighWaterMark: 8, maxMessageSize: MAX_ARRAY_BYTES, linger: 0 });
  if (options.keys) {
    subscriber.curveServerKey = key(options["server-key"], "public-key");
    subscriber.curvePublicKey = key(options.keys, "public-key");
    subscriber.curveSecretKey = key(options.keys, "secret-key");
  }
  subscriber.subscribe("depth", "status");
  subscriber.connect(address);
  return subscriber;
}

// The newest message of each topic: what comes while the one before is worked on takes its place.
async function* newestOf(subscriber) {
  const newest = new Map();
  let wake = () => {};
  let failure;
  (async () => {
    for await (const parts of subscriber) {
      const topic = parts[0].toString();
      newest.set(topic === "depth" || topic === "status" ? topic : "", parts);
      wake();
    }
  })().catch((error) => {
    failure = error;
    wake();
  });
  while (true) {
    if (!newest.size && !failure) await new Promise((resolve) => (wake = resolve));
    if (failure) throw failure;
    // A frame before a status, whose "end" would hide it.
    const topic = newest.has("depth") ? "depth" : newest.keys().next().value;
    const parts = newest.get(topic);
    newest.delete(topic);
    yield parts;
  }
}

// Topic, header and arrays of a message. The header is not trusted: every shape must fit the buffer that came.
function decode([topic, text, ...buffers]) {
  if (!text || text.length > MAX_HEADER_BYTES) throw new Error(`header of ${text?.length} bytes`);
  // t_publish_ns is beyond 2^53 and loses its last digits here: 256 ns, too little to matter.
  const header = JSON.parse(text.toString("utf8"));
  if (header.schema !== SCHEMA) throw new Error(`schema is ${header.schema}, not ${SCHEMA}`);
  if (header.arrays.length !== buffers.length) throw new Error(`${buffers.length} arrays, not ${header.arrays.length}`);
  const arrays = {};
  header.arrays.forEach(({ name, dtype, shape }, i) => {
    const size = shape.reduce((product, length) => product * length, 1);
    if (dtype !== "<f4" && dtype !== COMPRESSED) throw new Error(`array ${name} has dtype ${dtype}`);
    const buffer = dtype === COMPRESSED ? decompress(buffers[i], shape, size * 4) : buffers[i];
    if (size * 4 !== buffer.length) throw new Error(`array ${name} of ${shape} came with ${buffer.length} bytes`);
    arrays[name] = floats(buffer);
  });
  return { topic: topic.toString(), header, arrays };
}

// A Zstandard frame, in which the lowest byte of every number comes first, then the second of every number, and so on;
// each number has its sign in the lowest bit (zigzag), and is what is left of
// v(y, x) − v(y, x−1) − v(y−1, x) + v(y−1, x−1), bits as whole numbers modulo 2³², with 0 beyond the border.
function decompress(buffer, shape, length) {
  if (!zlib.zstdDecompressSync) throw new Error(`it is compressed: Node.js ${process.version} is older than 22.15`);
  if (!(length > 0 && length <= MAX_ARRAY_BYTES)) throw new Error(`an array of ${length} bytes is compressed`);
  const sorted = zlib.zstdDecompressSync(buffer, { maxOutputLength: length });
  if (sorted.length !== length) throw new Error(`${sorted.length} bytes are compressed, not ${length}`);
  const [count, columns, rows] = [length / 4, shape.at(-1), shape.at(-2) ?? 1];
  const numbers = new Uint32Array(count); // which counts modulo 2^32
  const plain = Buffer.alloc(length);
  for (let i = 0; i < count; i += 1) {
    const [x, y] = [i % columns, Math.floor(i / columns) % rows];
    const bits = sorted[i] | (sorted[count + i] << 8) | (sorted[2 * count + i] << 16) | (sorted[3 * count + i] << 24);
    let number = (bits >>> 1) ^ -(bits & 1);
    if (x) number += numbers[i - 1];
    if (y) number += numbers[i - columns];
    if (x && y) number -= numbers[i - columns - 1];
    numbers[i] = number;
    plain.writeUInt32LE(numbers[i], 4 * i);
  }
  return plain;
}

function floats(buffer) {
  const aligned = buffer.byteOffset % 4 === 0 ? buffer : Buffer.from(new Uint8Array(buffer).buffer);
  if (endianness() === "BE") aligned.swap32();
  return new Float32Array(aligned.buffer, aligned.byteOffset, aligned.length / 4);
}

// How many messages of this topic were lost before this one.
const next = {};
function lost(topic, { stream, seq }) {
  const expected = next[topic]?.stream === stream ? next[topic].seq : seq;
  next[topic] = { stream, seq: seq + 1 };
  return seq - expected;
}

// NaN is where nothing is known.
function statistics(array) {
  let [finite, sum, min, max] = [0, 0, Infinity, -Infinity];
  for (const value of array) {
    if (!Number.isFinite(value)) continue;
    finite += 1;
    sum += value;
    if (value < min) min = value;
    if (value > max) max = value;
  }
  return finite ? { finite, mean: sum / finite, min, max } : { finite, mean: null, min: null, max: null };
}

function line({ topic, header, arrays }, missed) {
  const gap = missed ? ` (${missed} lost before it)` : "";
  if (topic === "status") return `status ${header.seq}${gap}: ${header.frames_per_s?.toFixed(1)} frames/s`;
  const { finite, mean, min, max } = statistics(arrays.depth);
  const known = ((100 * finite) / arrays.depth.length).toFixed(0);
  const depth = finite ? `${mean.toFixed(3)} m (${min.toFixed(3)} to ${max.toFixed(3)})` : "unknown";
  return `depth ${header.seq}${gap}: mean ${depth}, ${known} % of ${header.camera.width}×${header.camera.height} known`;
}

let frames = 0;
const subscriber = connect();
for await (const parts of options.newest ? newestOf(subscriber) : subscriber) {
  let message;
  try {
    message = decode(parts);
  } catch (error) {
    console.error(`skipped a bad message: ${error.message}`);
    continue;
  }
  const { topic, header, arrays } = message;
  const missed = lost(topic, header);
  const checks = () => Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, statistics(array)]));
  console.log(options.json ? JSON.stringify({ topic, lost: missed, header, checks: checks() }) : line(message, missed));
  if (topic === "depth") frames += 1;
  if (frames >= limit || header.end) break;
  if (topic === "depth" && options.newest) await sleep(Number(options.newest)); // where the work would be
}
subscriber.close();
