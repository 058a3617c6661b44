/// The ZAP handler: a REP socket at a name that ZeroMQ prescribes, and a list of clients in a file.
#include <base/clock.h>
#include <base/error.h>
#include <errno.h>
#include <pipelines/transport/keys.h>
#include <pipelines/transport/zap.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

static const int64_t QUIET_NS = 5000000000; ///< between two warnings about refused clients

/// Parts of a request, in their order on the wire.
enum { VERSION, REQUEST_ID, DOMAIN, ADDRESS, IDENTITY, MECHANISM, CREDENTIALS, N_PARTS };

enum { PART_BYTES_MAX = 256 };

typedef struct part {
    size_t n_bytes;
    char bytes[PART_BYTES_MAX]; ///< NUL-terminated
} part;

struct hsdi_zap {
    void *socket;
    char *clients;
    hsdi_log log;
    int64_t warned_ns; ///< 0: never
    int64_t n_unsaid;  ///< refused since then
    part request[N_PARTS];
};

hsd_status hsdi_zap_open(void *zmq_context, const char *clients, const hsdi_log *log,
                         hsdi_zap **out, hsd_error *err)
{
    hsdi_zap *zap = calloc(1, sizeof *zap);
    if (!zap || !(zap->clients = strdup(clients))) {
        free(zap);
        return hsdi_fail(err, HSD_ENOMEM, clients, "no memory for the list of clients");
    }
    int none = 0;
    zap->log = *log;
    zap->socket = zmq_socket(zmq_context, ZMQ_REP);
    if (!zap->socket || zmq_setsockopt(zap->socket, ZMQ_LINGER, &none, sizeof none) != 0 ||
        zmq_bind(zap->socket, "inproc://zeromq.zap.01") != 0) {
        int code = zmq_errno();
        hsdi_zap_close(&zap);
        return code == EADDRINUSE
                   ? hsdi_fail(err, HSD_EINVAL, clients, "a context has one listener with keys")
                   : hsdi_fail(err, HSD_ETRANSPORT, clients, "cannot check clients: %s",
                               zmq_strerror(code));
    }
    *out = zap;
    return HSD_OK;
}

void hsdi_zap_close(hsdi_zap **zap)
{
    if (*zap) {
        if ((*zap)->socket) {
            zmq_close((*zap)->socket);
        }
        free((*zap)->clients);
        free(*zap);
        *zap = NULL;
    }
}

void *hsdi_zap_socket(const hsdi_zap *zap)
{
    return zap->socket;
}

/// One part; one that is too long becomes an empty one. False when there is none.
static bool receive_part(void *socket, part *out, bool *has_more)
{
    zmq_msg_t message;
    zmq_msg_init(&message);
    bool is_there = zmq_msg_recv(&message, socket, ZMQ_DONTWAIT) >= 0;
    if (is_there) {
        size_t n = zmq_msg_size(&message);
        out->n_bytes = n < sizeof out->bytes ? n : 0;
        memcpy(out->bytes, zmq_msg_data(&message), out->n_bytes);
        out->bytes[out->n_bytes] = '\0';
        *has_more = zmq_msg_more(&message);
    }
    zmq_msg_close(&message);
    return is_there;
}

/// A whole request into zap->request. False when there is none.
static bool receive(hsdi_zap *zap)
{
    bool has_more = true;
    memset(zap->request, 0, sizeof zap->request);
    for (int i = 0; has_more; i++) {
        part beyond;
        if (!receive_part(zap->socket, i < N_PARTS ? &zap->request[i] : &beyond, &has_more)) {
            return false;
        }
    }
    return true;
}

static void reply(hsdi_zap *zap, const char *code, const char *text, const char *user)
{
    const part *id = &zap->request[REQUEST_ID];
    (void)zmq_send(zap->socket, "1.0", 3, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    (void)zmq_send(zap->socket, id->bytes, id->n_bytes, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    (void)zmq_send(zap->socket, code, strlen(code), ZMQ_SNDMORE | ZMQ_DONTWAIT);
    (void)zmq_send(zap->socket, text, strlen(text), ZMQ_SNDMORE | ZMQ_DONTWAIT);
    (void)zmq_send(zap->socket, user, strlen(user), ZMQ_SNDMORE | ZMQ_DONTWAIT);
    (void)zmq_send(zap->socket, "", 0, ZMQ_DONTWAIT);
}

/// Say why a client was refused, but not for each of a crowd.
static void warn(hsdi_zap *zap, const char *key, const char *why)
{
    int64_t now_ns = hsdi_now_ns();
    if (zap->warned_ns != 0 && now_ns - zap->warned_ns < QUIET_NS) {
        zap->n_unsaid++;
        return;
    }
    char more[48] = "";
    if (zap->n_unsaid > 0) {
        snprintf(more, sizeof more, " (and %lld more since)", (long long)zap->n_unsaid);
    }
    hsdi_logf(&zap->log, HSDI_LOG_WARN, "refused client %s with key %s: %s%s",
              zap->request[ADDRESS].bytes, key, why, more);
    zap->warned_ns = now_ns;
    zap->n_unsaid = 0;
}

static void judge(hsdi_zap *zap)
{
    const part *credentials = &zap->request[CREDENTIALS];
    char key[HSDI_KEY_CHARS + 1] = "?", name[HSDI_KEY_NAME_BYTES] = "";
    bool is_listed = false;
    hsd_error err = {0};
    if (strcmp(zap->request[MECHANISM].bytes, "CURVE") != 0 || credentials->n_bytes != 32 ||
        !zmq_z85_encode(key, (const uint8_t *)credentials->bytes, 32)) {
        warn(zap, key, "no CURVE client");
        reply(zap, "400", "no CURVE client", "");
        return;
    }
    if (hsdi_clients_find(zap->clients, key, &is_listed, name, &err) != HSD_OK) {
        char why[sizeof err.where + sizeof err.message + 32];
        snprintf(why, sizeof why, "%s, line %lld: %s", err.where, (long long)err.line, err.message);
        warn(zap, key, why);
        reply(zap, "500", "the list of clients cannot be read", "");
    } else if (!is_listed) {
        warn(zap, key, "it is not on the list of clients");
        reply(zap, "400", "not on the list of clients", "");
    } else {
        hsdi_logf(&zap->log, HSDI_LOG_INFO, "client %s with key %s%s%s connects",
                  zap->request[ADDRESS].bytes, key, name[0] ? " of " : "", name);
        reply(zap, "200", "OK", key);
    }
}

void hsdi_zap_serve(hsdi_zap *zap)
{
    while (receive(zap)) {
        judge(zap);
    }
}
