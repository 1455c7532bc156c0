/** The image under test; KEELSON_E2E_IMAGE names one that was built before. */
export const keelsonImage = process.env.KEELSON_E2E_IMAGE ?? "keelson:e2e";

export const baseImages = ["debian:bookworm-slim", "node:24-bookworm-slim"];

export const serviceImages = {
  postgres: "postgres:15",
  mariadb: "mariadb:10.11",
  redis: "redis:7",
  haproxy: "haproxy:2.6",
};
