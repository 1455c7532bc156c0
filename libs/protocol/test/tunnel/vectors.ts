/** The test vectors of the tunnel protocol: hex of one WebSocket binary message each. */
export interface Vector {
  name: string;
  id: bigint;
  connectionId: number;
  type: number;
  payload: string | Buffer;
  deadlineMs?: number;
  hex: string;
}

const longRefusal = "dial tcp 127.0.0.1:1: connect: connection refused";
const sync = Buffer.from("02000000000000000300000000000000" + "2c01000000000000", "hex");

export const vectors: readonly Vector[] = [
  { name: "V1", id: 1n, type: 1, connectionId: 2, payload: "hi", deadlineMs: 15_000, hex: "020402b0ea016869" },
  { name: "V1b", id: 1n, type: 1, connectionId: 2, payload: "hi", deadlineMs: 0, hex: "020402006869" },
  {
    name: "V2",
    id: 2n,
    type: 2,
    connectionId: 2,
    payload: "tcp/127.0.0.1:10250",
    deadlineMs: 15_000,
    hex: "040404b0ea017463702f3132372e302e302e313a3130323530",
  },
  {
    name: "V3",
    id: 3n,
    type: 2,
    connectionId: 3,
    payload: "tcp/[::1]:10250",
    deadlineMs: 15_000,
    hex: "060604b0ea017463702f5b3a3a315d3a3130323530",
  },
  {
    name: "V4",
    id: 64n,
    type: 2,
    connectionId: 300,
    payload: "tcp/10.42.1.7:8443",
    deadlineMs: 15_000,
    hex: "8001d80404b0ea017463702f31302e34322e312e373a38343433",
  },
  {
    name: "V5",
    id: 5n,
    type: 2,
    connectionId: 9,
    payload: "node-a::tcp/127.0.0.1:10250",
    deadlineMs: 15_000,
    hex: "0a1204b0ea016e6f64652d613a3a7463702f3132372e302e302e313a3130323530",
  },
  { name: "V6", id: 6n, type: 3, connectionId: 2, payload: "EOF", hex: "0c0406454f46" },
  {
    name: "V7",
    id: 7n,
    type: 3,
    connectionId: 4,
    payload: longRefusal,
    hex: "0e08066469616c20746370203132372e302e302e313a313a20636f6e6e6563743a20636f6e6e656374696f6e2072656675736564",
  },
  {
    name: "V8",
    id: 8n,
    type: 3,
    connectionId: 7,
    payload: "connection not found node-a/42/7",
    hex: "100e06636f6e6e656374696f6e206e6f7420666f756e64206e6f64652d612f34322f37",
  },
  {
    name: "V9",
    id: 9n,
    type: 4,
    connectionId: 0,
    payload: "node-a/5577006791947779410",
    hex: "1200086e6f64652d612f35353737303036373931393437373739343130",
  },
  {
    name: "V10",
    id: 10n,
    type: 5,
    connectionId: 0,
    payload: "node-a/5577006791947779410",
    hex: "14000a6e6f64652d612f35353737303036373931393437373739343130",
  },
  { name: "V11", id: 11n, type: 6, connectionId: 2, payload: "", hex: "16040c" },
  { name: "V12", id: 12n, type: 7, connectionId: 2, payload: "", hex: "18040e" },
  {
    name: "V13",
    id: 13n,
    type: 8,
    connectionId: 0,
    payload: sync,
    hex: "1a0010020000000000000003000000000000002c01000000000000",
  },
  { name: "V14", id: 14n, type: 8, connectionId: 0, payload: "", hex: "1c0010" },
  {
    name: "V15",
    id: 9223372036854775806n,
    type: 1,
    connectionId: 2,
    payload: "",
    deadlineMs: 15_000,
    hex: "fcffffffffffffffff010402b0ea01",
  },
  { name: "V16", id: -9223372036854775808n, type: 6, connectionId: 2, payload: "", hex: "ffffffffffffffffff01040c" },
  { name: "V17", id: 17n, type: 100, connectionId: 2, payload: "x", hex: "2204c80178" },
  {
    name: "V18",
    id: 63n,
    type: 3,
    connectionId: -1,
    payload: "tunnel disconnect",
    hex: "7e010674756e6e656c20646973636f6e6e656374",
  },
];

/** Messages that end the session that receives them. */
export const mustFail: readonly { name: string; hex: string }[] = [
  { name: "empty message", hex: "" },
  { name: "id alone", hex: "02" },
  { name: "id and connection alone", hex: "0204" },
  { name: "connect without a deadline", hex: "020404" },
  { name: "connect without a protocol", hex: "020404b0ea01746370" },
  { name: "varint that overflows", hex: "ffffffffffffffffffffff" },
  { name: "sync of 3 bytes", hex: "020010010203" },
];
