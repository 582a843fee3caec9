/*
 * A source of made-up rates in plain C: one pair, whose price moves by a cent with each tick.
 *
 *   [plugin.example]
 *   use = "source/example-c"
 *   library = "libratebus_example_c.so"
 *   sha256 = "..."                      # ratebus plugins hash libratebus_example_c.so
 *   config = { pair = "BTC_USD", cents = 2000000, every_ms = 1000 }
 */
#include <errno.h>
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

/* Adds a line to what is wrong, as far as there is room. */
static void tell(ratebus_buffer *to, const char *words) {
    size_t length = strlen(words), room = to->room - to->length;
    if (length > room) length = room;
    memcpy(to->at + to->length, words, length);
    to->length += length;
}

/* What follows a key of the config, a flat JSON object; NULL if it is not there. A real source has a JSON library. */
static const char *value_of(const char *json, const char *key) {
    char quoted[32];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *found = strstr(json, quoted);
    return found == NULL ? NULL : found + strlen(quoted);
}

/* A whole number from least to most; if it is something else, `error` has a line more. */
static long number_of(const char *json, const char *key, long usual, long least, long most, ratebus_buffer *error) {
    const char *value = value_of(json, key);
    if (value == NULL) return usual;
    char *end;
    errno = 0;
    long number = strtol(value, &end, 10);
    if (end == value || (*end != ',' && *end != '}') || errno != 0 || number < least || number > most) {
        char words[128];
        snprintf(words, sizeof words, "%s\texpected a whole number from %ld to %ld\n", key, least, most);
        tell(error, words);
    }
    return number;
}

static int32_t create(ratebus_setup *setup, ratebus_buffer *error, void **instance) {
    char json[1024] = "";
    if (setup->config.length >= sizeof json) {
        tell(error, "\ttoo long");
        return RATEBUS_INVALID;
    }
    memcpy(json, setup->config.at, setup->config.length);
    source made = {.pair = "BTC_USD"};
    const char *pair = value_of(json, "pair");
    int length = 0;
    if (pair != NULL && (sscanf(pair, "\"%31[A-Z0-9_]%n", made.pair, &length) != 1 || pair[length] != '"')) {
        tell(error, "pair\texpected a pair such as \"BTC_USD\"\n");
    }
    made.cents = number_of(json, "cents", 2000000, 1000, 1000000000000, error);
    /* Not longer: it is how long the source takes to stop. */
    made.every_ms = number_of(json, "every_ms", 1000, 1, 1000, error);
    if (error->length > 0) return RATEBUS_INVALID;
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
    int32_t status = self->host->publish(self->context, &tick, 1, &accepted);
    self->host->count(self->context, text(status == RATEBUS_OK ? "ticks" : "ticks_lost"), 1);
}

static void *run(void *instance) {
    source *self = instance;
    struct timespec pause = {self->every_ms / 1000, self->every_ms % 1000 * 1000000};
    ratebus_event pairs[] = {
        {.size = sizeof pairs[0], .kind = RATEBUS_PAIR, .pair = text(self->pair), .state = RATEBUS_SUBSCRIBED},
        {.size = sizeof pairs[0], .kind = RATEBUS_ALL_PAIRS},
    };
    size_t accepted = 0;
    self->host->publish(self->context, pairs, 2, &accepted);
    self->host->health(self->context, RATEBUS_READY, text(""));
    self->host->gauge(self->context, text("every_ms"), self->every_ms);
    for (long step = 0; !atomic_load(&self->stopping); step++) {
        publish_tick(self, self->cents + step % 100);
        nanosleep(&pause, NULL);
    }
    self->host->stopped(self->context, RATEBUS_FINISHED, text(""), 0);
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
