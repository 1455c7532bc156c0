import { lacks, startMariadb } from "@keelson/conformance";
import { describe } from "vitest";
import { describeCompactionRace } from "./compaction-race-behaviour.ts";
import { describeReplicas } from "./replicas-behaviour.ts";

describe.skipIf(lacks("mariadbd", "mariadb-install-db"))("on MariaDB", () => {
  describeReplicas(startMariadb);
  describeCompactionRace(startMariadb);
});
