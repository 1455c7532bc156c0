import { lacks, startMariadb } from "@keelson/conformance";
import { describe } from "vitest";
import { describeReplicas } from "./replicas-behaviour.ts";

describe.skipIf(lacks("mariadbd", "mariadb-install-db"))("on MariaDB", () => {
  describeReplicas(startMariadb);
});
