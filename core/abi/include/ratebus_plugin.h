/*
 * ratebus_plugin.h - the interface between ratebus and a plugin in a shared library, version 1.
 *
 * A library exports one data symbol, `ratebus_plugin_v1`, that describes it. ratebus reads it, and only then calls a
 * function. docs/plugins.md has the rest: how a library is named in the config, and what it is checked for.
 *
 * Rules for both sides:
 *  - What a pointer argument points to is borrowed for that call; who needs it longer copies it. Nothing that one side
 *    allocated is freed by the other.
 *  - Texts are UTF-8 with a length, without a zero at the end. A text of length 0 may have a null pointer.
 *  - A struct that may grow begins with its size. Fields are only ever added at its end, and a reader takes of it what
 *    it knows. An array of such structs has elements of the first one's size.
 *  - No call may throw, unwind or jump across the boundary.
 *  - Prices are exact: an integer and the number of its digits after the point. There is no floating point here.
 */
#ifndef RATEBUS_PLUGIN_H
#define RATEBUS_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The first bytes of the descriptor: "RATEBUS1" when read as text on a little-endian machine. */
#define RATEBUS_MAGIC UINT64_C(0x3153554245544152)
/* Majors must match. A higher minor has more at the end of its structs. */
#define RATEBUS_MAJOR 1
#define RATEBUS_MINOR 0

/* What a call came to. */
enum {
    RATEBUS_OK = 0,
    RATEBUS_FULL = 1,     /* No room for all of it: on_writable tells when there is some. */
    RATEBUS_CLOSED = 2,   /* The instance has ended: nothing is taken from it any more. */
    RATEBUS_INVALID = 3,  /* Not what is expected here. */
    RATEBUS_FAILED = 4,   /* Could not be done. */
    RATEBUS_PANICKED = 5  /* A fault in the code that was called. */
};

/* What a component does. */
enum {
    RATEBUS_SOURCE = 1, /* Brings rates in. */
    RATEBUS_SINK = 2    /* Takes messages off the bus. */
};

/* What an event says. */
enum {
    RATEBUS_TICK = 1,         /* What one frame said of a pair: ratebus judges it, and keeps the pair's rate. */
    RATEBUS_RATE = 2,         /* A rate that the plugin has judged itself, as old as its age says. */
    RATEBUS_HEARTBEAT = 3,    /* The feed is alive, and every pair that is subscribed is unchanged. */
    RATEBUS_PAIR = 4,         /* How the subscription of a pair stands. */
    RATEBUS_MARKET = 5,       /* Whether the exchange matches orders, for all pairs. */
    RATEBUS_DISCONNECTED = 6, /* The connection is gone: rates age until they are told again. */
    RATEBUS_ALL_PAIRS = 7     /* Every pair was told of: what an instance before this one served besides is served no more. */
};

/* How the subscription of a pair stands (RATEBUS_PAIR). */
enum {
    RATEBUS_PENDING = 0,
    RATEBUS_SUBSCRIBED = 1,
    RATEBUS_REFUSED = 2 /* For good; the reason says why. */
};

/* Whether an exchange matches orders. */
enum {
    RATEBUS_ONLINE = 0,
    RATEBUS_NOT_MATCHING = 1,
    RATEBUS_MAINTENANCE = 2,
    RATEBUS_UNKNOWN = 3
};

/* How a component is. */
enum {
    RATEBUS_STARTING = 0,
    RATEBUS_READY = 1,
    RATEBUS_DEGRADED = 2, /* Does its work in part: the process stays ready. */
    RATEBUS_NOT_READY = 3
};

/* How important a line of the log is. */
enum {
    RATEBUS_ERROR = 1,
    RATEBUS_WARN = 2,
    RATEBUS_INFO = 3,
    RATEBUS_DEBUG = 4
};

/* How an instance ended. */
enum {
    RATEBUS_FINISHED = 0, /* Done for good, or stopped because it was asked to. */
    /* What failed, which decides whether it is started again. */
    RATEBUS_END_CONFIG = 1,       /* Never: the config cannot work. */
    RATEBUS_END_CONNECT = 2,      /* With growing delays: no connection, or it was lost. */
    RATEBUS_END_PROTOCOL = 3,     /* As a fault of the plugin: the third in ten minutes disables it. */
    RATEBUS_END_AUTH = 4,         /* With growing delays: credentials or certificates were refused. */
    RATEBUS_END_RATE_LIMITED = 5, /* With growing delays: the other side asks for that. */
    RATEBUS_END_STALLED = 6,      /* With growing delays: connected, and silent. */
    RATEBUS_END_INTERNAL = 7      /* As a fault of the plugin. */
};

/* Flags of a rate. */
enum {
    RATEBUS_REFERENCE = 1, /* One price without sides: it is in `bid`, and `ask` is not used. */
    RATEBUS_SNAPSHOT = 2   /* A full picture: it replaces what was known, and its time may lie far back. */
};

/* A text: UTF-8, not terminated. */
typedef struct ratebus_text {
    const char *at;
    size_t length;
} ratebus_text;

/* Room for a text, lent by the caller. Who writes cuts it to `room` bytes and sets `length`. */
typedef struct ratebus_buffer {
    char *at;
    size_t room;
    size_t length;
} ratebus_buffer;

/* A price: mantissa / 10^scale, above zero. 20249.10 is { 2024910, 0, 2 }. A mantissa of zero: there is none. */
typedef struct ratebus_decimal {
    uint64_t mantissa;      /* The lower 64 bits. */
    uint32_t mantissa_high; /* The bits above them. */
    uint32_t scale;         /* Digits after the point, at most 28. */
} ratebus_decimal;

/* What is said of one pair. */
typedef struct ratebus_rate {
    uint32_t size; /* sizeof(ratebus_rate) */
    uint32_t flags;
    ratebus_text source; /* To a sink: who says so. From a source it is not read: it is the plugin's own name. */
    ratebus_text pair;   /* "BTC_USD" */
    /* Of a tick one side may be missing: it is as it was, or with RATEBUS_SNAPSHOT it is empty. Without both there is no
     * price any more. */
    ratebus_decimal bid;
    ratebus_decimal ask;
    int64_t event_micros;    /* The exchange's own time, in microseconds since 1970; 0: it gives none. */
    int64_t received_micros; /* To a sink: when it arrived. From a source it is not read. */
    uint64_t age_micros;     /* Of a rate: how long ago the feed vouched for it. */
    uint64_t sequence;       /* To a sink: grows with each change, within an epoch. From a source it is not read. */
    uint64_t epoch;          /* To a sink: the source's run. From a source it is not read. */
    uint32_t stale_after_ms; /* When it counts as stale, and as dead; 0: after 10 s, and after 60 s. */
    uint32_t dead_after_ms;
    uint32_t market; /* Of a rate. */
    uint32_t reserved;
} ratebus_rate;

/* What a source says. */
typedef struct ratebus_event {
    uint32_t size; /* sizeof(ratebus_event) */
    uint32_t kind;
    const ratebus_rate *rate; /* RATEBUS_TICK, RATEBUS_RATE. */
    ratebus_text pair;        /* RATEBUS_PAIR. */
    ratebus_text reason;      /* RATEBUS_PAIR with RATEBUS_REFUSED: the exchange's words. */
    uint32_t state;           /* RATEBUS_PAIR: its subscription; RATEBUS_MARKET: the market. */
    uint32_t reserved;
} ratebus_event;

/* What a sink hears. */
typedef struct ratebus_message {
    uint32_t size; /* sizeof(ratebus_message) */
    uint32_t reserved;
    ratebus_text subject;     /* "rates.kraken.BTC_USD", "quotes.BTC_USD", "spreads.BTC_USD", "pairs.kraken", ... */
    const ratebus_rate *rate; /* A rate; else null. */
    ratebus_text json;        /* What it says if it is no rate, as docs/messages.md has it under `payload`. Under rates.> that
                                 is { "gone": {} }: the source serves the pair no more. */
    uint64_t epoch;           /* The publisher's run: of one run a higher sequence is newer. */
    uint64_t sequence;
    int64_t published_micros; /* In microseconds since 1970. */
} ratebus_message;

/* What an instance is made of. */
typedef struct ratebus_setup {
    uint32_t size; /* sizeof(ratebus_setup) */
    /* Set to 1 by `create` if the instance keeps what `pairs` says: it is made anew when that changes. */
    uint32_t keeps_pairs;
    ratebus_text name;   /* The plugin's in the config. */
    ratebus_text config; /* Its `config`, a JSON object. */
    ratebus_text pairs;  /* The tables [pairs.*], a JSON object: { "BTC_USD": { "price_step": "0.5", ... }, ... } */
} ratebus_setup;

/*
 * What ratebus does for a plugin. All of it may be called from any thread, returns at once, and may be called from
 * within a call of the component.
 *
 * `context` is the instance, as `start` was given it. It is a number that is never used again: a call after the
 * instance's end gets RATEBUS_CLOSED.
 */
typedef struct ratebus_host {
    uint32_t size; /* sizeof(ratebus_host) */
    uint32_t minor;
    /*
     * Takes events in their order; `accepted` is how many. RATEBUS_FULL: the others did not fit; a plugin that sends
     * on nevertheless loses its own events. RATEBUS_INVALID: the one after those accepted is wrong, and would be again.
     */
    int32_t (*publish)(uint64_t context, const ratebus_event *events, size_t count, size_t *accepted);
    /*
     * How the instance is (RATEBUS_READY, ...); the text says why where it is not well. The newest counts. In the log,
     * changes share the 20 lines in a second that an instance has.
     */
    int32_t (*health)(uint64_t context, uint32_t state, ratebus_text reason);
    /* A line of the log. At most 20 in a second are taken; RATEBUS_FULL: not this one. */
    int32_t (*log)(uint64_t context, uint32_t level, ratebus_text line);
    /* Wall clock, in microseconds since 1970. */
    int64_t (*now)(uint64_t context);
    /*
     * The instance has ended, by itself or because it was asked to (RATEBUS_FINISHED, RATEBUS_END_...). The last thing
     * it says: `destroy` follows. `after_ms`: it is not to be started again before, in milliseconds, as the other side
     * asked; 0: as `how` says.
     */
    int32_t (*stopped)(uint64_t context, uint32_t how, ratebus_text why, uint32_t after_ms);
    /*
     * Adds to a counter of the plugin: ratebus_library_counts_total{plugin,name} of the metrics. A name is lower-case
     * letters, digits and underscores, at most 48. RATEBUS_FULL: the plugin has 64 names already.
     */
    int32_t (*count)(uint64_t context, ratebus_text name, uint64_t number);
    /* Sets a gauge of the plugin: ratebus_library_value{plugin,name}. Its names are as those of counters, and among the 64. */
    int32_t (*gauge)(uint64_t context, ratebus_text name, int64_t value);
} ratebus_host;

/*
 * A type of component. The calls of one instance come one after the other, from one thread; those of several instances
 * may come at the same time. Each has five seconds: an instance that takes longer is disabled and given up, together
 * with that thread.
 */
typedef struct ratebus_component {
    uint32_t size; /* sizeof(ratebus_component) */
    uint32_t kind; /* RATEBUS_SOURCE, RATEBUS_SINK */
    ratebus_text type; /* What `use` names it: "source/acme", "sink/acme". */
    /*
     * Makes an instance. It must not do anything that can fail for other reasons than the config: `ratebus check` makes
     * an instance and destroys it.
     * If it fails: a line for each problem in `error`, the key below `config`, a tab, and what is wrong with it. All of
     * them at once, so that nobody has to try again and again.
     */
    int32_t (*create)(ratebus_setup *setup, ratebus_buffer *error, void **instance);
    /* Begins to work, in threads of its own. `host` stays as it is for good. Once on each instance. */
    int32_t (*start)(void *instance, const ratebus_host *host, uint64_t context, ratebus_buffer *error);
    /* There is room again after RATEBUS_FULL. May be null. */
    void (*on_writable)(void *instance);
    /* Of a sink: the patterns that it wants to hear, one a line; asked once, before `start`. Null in a source. */
    int32_t (*interests)(void *instance, ratebus_buffer *patterns);
    /*
     * Of a sink: messages; `accepted` is how many were taken, in their order. The others come again soon. First come the
     * last values, those that were published before it started. Of each subject the newest is delivered: what a sink is too
     * slow for, it does not get. Null in a source.
     */
    int32_t (*deliver)(void *instance, const ratebus_message *messages, size_t count, size_t *accepted);
    /* Asks it to end. It does so soon, and says `stopped`. */
    void (*stop)(void *instance);
    /* Frees it. The last call; of one that was started it comes when that has stopped, or is given up. */
    void (*destroy)(void *instance);
} ratebus_component;

/* The descriptor of a library. */
typedef struct ratebus_plugin {
    uint64_t magic; /* RATEBUS_MAGIC */
    uint16_t major; /* RATEBUS_MAJOR */
    uint16_t minor; /* RATEBUS_MINOR */
    uint32_t size;  /* sizeof(ratebus_plugin) */
    ratebus_text name;
    ratebus_text version;
    ratebus_text build; /* What it was built with, for people. May be empty. */
    const ratebus_component *components;
    uint32_t count;
    uint32_t stride; /* sizeof(ratebus_component) */
} ratebus_plugin;

/* A text of a string literal. */
#define RATEBUS_TEXT(literal) { (literal), sizeof(literal) - 1 }

/* What a library exports. */
#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
extern const ratebus_plugin ratebus_plugin_v1;

#ifdef __cplusplus
}
#endif

#endif
