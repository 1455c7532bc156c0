/**
 * `node:http` for processes that count their memory. An ES import of it reads every export, and some of them load fetch
 * and HTTP/2 on first sight: 8 MiB that an agent never uses.
 */
export const http: typeof import("node:http") = process.getBuiltinModule("node:http");
