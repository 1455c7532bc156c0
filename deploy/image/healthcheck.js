// The image's HEALTHCHECK: asks the part in this container whether it is ready. KEELSON_HEALTH_URL names the endpoint:
// http(s)://host:port/path, or unix:///path/to/socket:/path.
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";

const url = process.env.KEELSON_HEALTH_URL ?? "https://127.0.0.1:6443/ping";
const unix = /^unix:\/\/([^:]+):(.*)$/.exec(url);
// The certificate is not checked: the answer comes from inside this container, and nothing secret is sent.
const options = { timeout: 2_000, rejectUnauthorized: false, headers: { "user-agent": "keelson-healthcheck" } };
const request = unix
  ? httpRequest({ ...options, socketPath: unix[1], path: unix[2] })
  : url.startsWith("https:")
    ? httpsRequest(url, options)
    : httpRequest(url, options);

function fail(reason) {
  console.error(`${url}: ${reason}`);
  process.exit(1);
}

request.on("response", (response) => {
  if (response.statusCode === 200) process.exit(0);
  let body = "";
  response.setEncoding("utf8");
  response.on("data", (chunk) => {
    body = (body + chunk).slice(0, 2_000);
  });
  response.on("end", () => fail(`${response.statusCode}\n${body}`));
});
request.on("timeout", () => fail("no answer within 2 s"));
request.on("error", (error) => fail(error.message));
request.end();
