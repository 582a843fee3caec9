/*
 * Libraries that do what none should. The compiler is told what is wrong with the library (MAGIC, MAJOR, SIZE, TYPE,
 * SYMBOL, NEEDS, HANG, CRASH, HANG_AT_THE_END), the config what is wrong with the instance: { misbehave = "hang_start" }.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ratebus_plugin.h"

#ifndef MAGIC
#define MAGIC RATEBUS_MAGIC
#endif
#ifndef MAJOR
#define MAJOR RATEBUS_MAJOR
#endif
#ifndef SIZE
#define SIZE sizeof(ratebus_plugin)
#endif
#ifndef TYPE
#define TYPE "source/misbehaving"
#endif
#ifndef SYMBOL
#define SYMBOL ratebus_plugin_v1
#endif

typedef struct source {
    char config[256];
    const ratebus_host *host;
    uint64_t context;
    pthread_t spammer;
    atomic_int stopping;
} source;

static int is(const char *config, const char *what) {
    return strstr(config, what) != NULL;
}

#ifdef NEEDS
/* Nobody has it. */
void function_of_another_library(void);
void (*needed)(void) = function_of_another_library;
#endif

static void hang(void) {
    for (;;) pause();
}

#ifdef HANG
__attribute__((constructor)) static void hang_while_loaded(void) { hang(); }
#endif

#ifdef CRASH
__attribute__((constructor)) static void crash_while_loaded(void) { abort(); }
#endif

#ifdef HANG_AT_THE_END
__attribute__((destructor)) static void hang_at_the_end(void) { hang(); }
#endif

static ratebus_text text(const char *words) {
    return (ratebus_text){words, strlen(words)};
}

static int32_t create(ratebus_setup *setup, ratebus_buffer *error, void **instance) {
    ratebus_text config = setup->config;
    source *self = calloc(1, sizeof *self);
    memcpy(self->config, config.at, config.length < 255 ? config.length : 255);
    if (is(self->config, "hang_create")) hang();
    if (is(self->config, "refuse")) {
        const char words[] = "pairs.1\tis no pair\ncolour\tunknown key";
        memcpy(error->at, words, sizeof words - 1);
        error->length = sizeof words - 1;
        return RATEBUS_INVALID;
    }
    *instance = self;
    return RATEBUS_OK;
}

static ratebus_rate rate_of(const char *pair, uint64_t bid, uint64_t ask) {
    return (ratebus_rate){
        .size = sizeof(ratebus_rate), .pair = text(pair), .bid = {.mantissa = bid}, .ask = {.mantissa = ask}};
}

/* More than any queue holds, as fast as possible, until it is stopped; and more lines, changes of health and names than
 * anybody reads. */
static void *spam(void *instance) {
    source *self = instance;
    const ratebus_host *host = self->host;
    uint64_t context = self->context;
    ratebus_rate rate = rate_of("BTC_USD", 1, 2);
    ratebus_event events[64];
    for (int i = 0; i < 64; i++) events[i] = (ratebus_event){.size = sizeof events[i], .kind = RATEBUS_TICK, .rate = &rate};
    size_t accepted;
    for (long round = 0; !atomic_load(&self->stopping); round++) {
        char name[32];
        snprintf(name, sizeof name, "spam_%ld", round);
        host->publish(context, events, 64, &accepted);
        host->log(context, RATEBUS_INFO, text("spam"));
        host->health(context, RATEBUS_DEGRADED, text(name));
        host->count(context, text(name), 1);
    }
    host->health(context, RATEBUS_READY, text(""));
    host->stopped(context, RATEBUS_FINISHED, text(""), 0);
    return NULL;
}

/* Events that cannot be what they say. */
static void nonsense(const ratebus_host *host, uint64_t context) {
    ratebus_rate no_pair = rate_of("nothing", 1, 2), crossed = rate_of("BTC_USD", 2, 1), scale = rate_of("BTC_USD", 1, 2);
    ratebus_rate good = rate_of("BTC_USD", 1, 2);
    scale.bid.scale = 29;
    ratebus_event events[] = {
        {.size = sizeof events[0], .kind = RATEBUS_TICK, .rate = &no_pair},
        {.size = sizeof events[0], .kind = RATEBUS_TICK, .rate = &scale},
        {.size = sizeof events[0], .kind = RATEBUS_TICK},
        {.size = sizeof events[0], .kind = 99},
        {.size = 8, .kind = RATEBUS_HEARTBEAT},
        {.size = sizeof events[0], .kind = RATEBUS_TICK, .rate = &crossed},
        {.size = sizeof events[0], .kind = RATEBUS_TICK, .rate = &good},
    };
    size_t accepted;
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) host->publish(context, &events[i], 1, &accepted);
}

static int32_t start(void *instance, const ratebus_host *host, uint64_t context, ratebus_buffer *error) {
    source *self = instance;
    (void)error;
    if (is(self->config, "hang_start")) hang();
    if (is(self->config, "spam")) {
        self->host = host;
        self->context = context;
        return pthread_create(&self->spammer, NULL, spam, self) == 0 ? RATEBUS_OK : RATEBUS_FAILED;
    }
    host->health(context, RATEBUS_READY, text(""));
    if (is(self->config, "nonsense")) nonsense(host, context);
    if (is(self->config, "fail")) host->stopped(context, RATEBUS_END_INTERNAL, text("it \x1b[31mfailed"), 0);
    if (is(self->config, "slower")) host->stopped(context, RATEBUS_END_RATE_LIMITED, text("asked to wait"), 3600000);
    return RATEBUS_OK;
}

static void stop(void *instance) {
    source *self = instance;
    if (is(self->config, "hang_stop")) hang();
    atomic_store(&self->stopping, 1);
}

static void destroy(void *instance) {
    source *self = instance;
    if (is(self->config, "hang_destroy")) hang();
    if (self->host != NULL) pthread_join(self->spammer, NULL);
    free(self);
}

static const ratebus_component components[] = {{
    .size = sizeof(ratebus_component),
    .kind = RATEBUS_SOURCE,
    .type = RATEBUS_TEXT(TYPE),
    .create = create,
    .start = start,
    .stop = stop,
    .destroy = destroy,
}};

const ratebus_plugin SYMBOL = {
    .magic = MAGIC,
    .major = MAJOR,
    .size = SIZE,
    .name = RATEBUS_TEXT("misbehaving"),
    .version = RATEBUS_TEXT("6.6.6"),
    .components = components,
    .count = 1,
    .stride = sizeof(ratebus_component),
};
