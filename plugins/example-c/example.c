/*
 * A source of made-up rates in plain C: one pair, whose price moves by a cent with each tick.
 *
 *   [plugin.example]
 *   use = "source/example-c"
 *   library = "libratebus_example_c.so"
 *   sha256 = "..."                      # ratebus plugins hash libratebus_example_c.so
 *   config = { pair = "BTC_USD", cents = 2000000, every_ms = 1000 }
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ratebus_plugin.h"

typedef struct source {
    char pair[32];
    long cents;
    long every_ms;
    const ratebus_host *host;
    uint64_t context;
    pthread_t thread;
    int has_thread;
    atomic_int stopping;
} source;

static ratebus_text text(const char *words) {
    return (ratebus_text){words, strlen(words)};
}

static void tell(ratebus_buffer *to, const char *words) {
    to->length = strlen(words) < to->room ? strlen(words) : to->room;
    memcpy(to->at, words, to->length);
}

/* What follows a key of the config, a flat JSON object; NULL if it is not there. A real source has a JSON library. */
static const char *value_of(const char *json, const char *key) {
    char quoted[32];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *found = strstr(json, quoted);
    return found == NULL ? NULL : found + strlen(quoted);
}

static long number_of(const char *json, const char *key, long usual) {
    const char *value = value_of(json, key);
    return value == NULL ? usual : strtol(value, NULL, 10);
}

static int32_t create(ratebus_text name, ratebus_text config, ratebus_buffer *error, void **instance) {
    (void)name;
    char json[1024] = "";
    if (config.length >= sizeof json) {
        tell(error, "\ttoo long");
        return RATEBUS_INVALID;
    }
    memcpy(json, config.at, config.length);
    source made = {.pair = "BTC_USD", .cents = number_of(json, "cents", 2000000)};
    made.every_ms = number_of(json, "every_ms", 1000);
    const char *pair = value_of(json, "pair");
    if (pair != NULL && sscanf(pair, "\"%31[A-Z0-9_]\"", made.pair) != 1) {
        tell(error, "pair\texpected a pair such as \"BTC_USD\"");
        return RATEBUS_INVALID;
    }
    if (made.cents < 1000) {
        tell(error, "cents\texpected 1000 or more");
        return RATEBUS_INVALID;
    }
    if (made.every_ms < 1) {
        tell(error, "every_ms\texpected 1 or more");
        return RATEBUS_INVALID;
    }
    source *self = malloc(sizeof *self);
    if (self == NULL) return RATEBUS_FAILED;
    *self = made;
    *instance = self;
    return RATEBUS_OK;
}

/* 20000.00 and 20000.02, as integers and their decimals. */
static void publish_tick(source *self, long cents) {
    ratebus_rate rate = {
        .size = sizeof rate,
        .pair = text(self->pair),
        .bid = {.mantissa = (uint64_t)cents, .scale = 2},
        .ask = {.mantissa = (uint64_t)cents + 2, .scale = 2},
        .event_micros = self->host->now(self->context),
    };
    ratebus_event tick = {.size = sizeof tick, .kind = RATEBUS_TICK, .rate = &rate};
    size_t accepted = 0;
    /* RATEBUS_FULL: the next tick is newer anyway. */
    self->host->publish(self->context, &tick, 1, &accepted);
}

static void *run(void *instance) {
    source *self = instance;
    struct timespec pause = {self->every_ms / 1000, self->every_ms % 1000 * 1000000};
    self->host->health(self->context, RATEBUS_READY, text(""));
    for (long step = 0; !atomic_load(&self->stopping); step++) {
        publish_tick(self, self->cents + step % 100);
        nanosleep(&pause, NULL);
    }
    self->host->stopped(self->context, RATEBUS_FINISHED, text(""));
    return NULL;
}

static int32_t start(void *instance, const ratebus_host *host, uint64_t context, ratebus_buffer *error) {
    source *self = instance;
    self->host = host;
    self->context = context;
    if (pthread_create(&self->thread, NULL, run, self) != 0) {
        tell(error, "no thread");
        return RATEBUS_FAILED;
    }
    self->has_thread = 1;
    return RATEBUS_OK;
}

static void stop(void *instance) {
    source *self = instance;
    atomic_store(&self->stopping, 1);
}

static void destroy(void *instance) {
    source *self = instance;
    stop(self);
    if (self->has_thread) pthread_join(self->thread, NULL);
    free(self);
}

static const ratebus_component components[] = {{
    .size = sizeof(ratebus_component),
    .kind = RATEBUS_SOURCE,
    .type = RATEBUS_TEXT("source/example-c"),
    .create = create,
    .start = start,
    .stop = stop,
    .destroy = destroy,
}};

const ratebus_plugin ratebus_plugin_v1 = {
    .magic = RATEBUS_MAGIC,
    .major = RATEBUS_MAJOR,
    .minor = RATEBUS_MINOR,
    .size = sizeof(ratebus_plugin),
    .name = RATEBUS_TEXT("example-c"),
    .version = RATEBUS_TEXT("0.1.0"),
    .build = RATEBUS_TEXT("C11"),
    .components = components,
    .count = sizeof components / sizeof components[0],
    .stride = sizeof(ratebus_component),
};
