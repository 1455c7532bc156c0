import type { Core } from "../core.ts";
import type { ServerStream, StreamMethod } from "../server/rpc.ts";
import type { WatchOptions } from "../watch/watch.ts";
import { WatchStream } from "../watch/watch-stream.ts";
import { WireReader } from "../wire/reader.ts";

/** etcdserverpb.Watch: one stream carries many watches. */
export function watchService(core: Core): StreamMethod[] {
  return [
    {
      kind: "stream",
      path: "/etcdserverpb.Watch/Watch",
      open(stream: ServerStream) {
        const watches = new WatchStream(core.hub, {
          send: (parts) => stream.send(parts),
          get pendingBytes() {
            return stream.pendingBytes;
          },
        });
        return {
          onMessage: (message) => handleRequest(watches, new WireReader(message)),
          // As in etcd, the watches of a client that has nothing more to say go on.
          onHalfClose() {},
          onClosed: () => watches.close(),
          onDrain: () => core.hub.pump(),
        };
      },
    },
  ];
}

/** WatchRequest: create_request=1, cancel_request=2, progress_request=3. */
function handleRequest(watches: WatchStream, reader: WireReader): void {
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === 0x0a) createWatch(watches, reader.message());
    else if (tag === 0x12) watches.cancel(decodeWatchId(reader.message()));
    else if (tag === 0x1a) {
      reader.message();
      watches.progress();
    } else reader.skip(tag, 3);
  }
}

function createWatch(watches: WatchStream, reader: WireReader): void {
  const options: WatchOptions = {
    key: "",
    rangeEnd: "",
    prevKv: false,
    progressNotify: false,
    noPut: false,
    noDelete: false,
    fragment: false,
  };
  let startRevision = 0;
  let watchId = 0;
  const filter = (value: number): void => {
    if (value === 0) options.noPut = true;
    else if (value === 1) options.noDelete = true;
  };
  while (!reader.done) {
    const tag = reader.tag();
    switch (tag) {
      case 0x0a:
        options.key = reader.key();
        break;
      case 0x12:
        options.rangeEnd = reader.key();
        break;
      case 0x18:
        startRevision = reader.int();
        break;
      case 0x20:
        options.progressNotify = reader.bool();
        break;
      case 0x28:
        filter(reader.int());
        break;
      case 0x2a: {
        const packed = reader.message();
        while (!packed.done) filter(packed.int());
        break;
      }
      case 0x30:
        options.prevKv = reader.bool();
        break;
      case 0x38:
        watchId = reader.int();
        break;
      case 0x40:
        options.fragment = reader.bool();
        break;
      default:
        reader.skip(tag, 8);
    }
  }
  // etcd takes an empty key for the smallest one.
  if (options.key === "") options.key = "\0";
  watches.create(watchId, startRevision, options);
}

function decodeWatchId(reader: WireReader): number {
  let id = 0;
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === 0x08) id = reader.int();
    else reader.skip(tag, 1);
  }
  return id;
}
