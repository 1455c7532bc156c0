import { lacks, startPostgres } from "@keelson/conformance";
import { describe } from "vitest";
import { describeCompactionRace } from "./compaction-race-behaviour.ts";
import { describeReplicas } from "./replicas-behaviour.ts";

describe.skipIf(lacks("initdb", "postgres"))("on PostgreSQL", () => {
  describeReplicas(startPostgres);
  describeCompactionRace(startPostgres);
});
