/// Keys of one context, and the socket options that use them.
#include <base/error.h>
#include <pipelines/transport/keyring.h>
#include <pipelines/transport/keys.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

/// With a domain ZeroMQ asks the handler of zap.c about each client.
static const char ZAP_DOMAIN[] = "hsd";

typedef struct known_worker {
    char *endpoint;
    char key[HSDI_KEY_CHARS + 1];
} known_worker;

struct hsdi_keyring {
    hsdi_key_pair own; ///< empty texts: none
    known_worker *workers;
    int n_workers;
    char *clients; ///< path; NULL: no listener asks for keys
    hsdi_log log;
};

hsd_status hsdi_keyring_create(hsdi_keyring **out, hsd_error *err)
{
    *out = calloc(1, sizeof **out);
    return *out ? HSD_OK : hsdi_fail(err, HSD_ENOMEM, "keys", "no memory for keys");
}

void hsdi_keyring_destroy(hsdi_keyring **keyring)
{
    if (*keyring) {
        hsdi_key_pair_clear(&(*keyring)->own);
        for (int i = 0; i < (*keyring)->n_workers; i++) {
            free((*keyring)->workers[i].endpoint);
        }
        free((*keyring)->workers);
        free((*keyring)->clients);
        free(*keyring);
        *keyring = NULL;
    }
}

hsd_status hsdi_keyring_set_own(hsdi_keyring *keyring, const char *path, hsd_error *err)
{
    if (!zmq_has("curve")) {
        return hsdi_fail(err, HSD_EUNSUPPORTED, path, "ZeroMQ was built without CURVE");
    }
    return hsdi_key_pair_read(path, &keyring->own, err);
}

static hsd_status need_own(const hsdi_keyring *keyring, const char *where, hsd_error *err)
{
    return keyring->own.secret_key[0]
               ? HSD_OK
               : hsdi_fail(err, HSD_EINVAL, where,
                           "a key of our own is needed beside it: make one with `hsd keygen NAME' "
                           "and give NAME.key with --key");
}

hsd_status hsdi_keyring_add_worker(hsdi_keyring *keyring, const char *endpoint, const char *path,
                                   hsd_error *err)
{
    hsdi_public_key key;
    hsd_status status = need_own(keyring, path, err);
    if (status == HSD_OK) {
        status = hsdi_public_key_read(path, &key, err);
    }
    if (status != HSD_OK) {
        return status;
    }
    size_t n = (size_t)keyring->n_workers;
    known_worker *grown = realloc(keyring->workers, (n + 1) * sizeof *grown);
    keyring->workers = grown ? grown : keyring->workers;
    char *copy = grown ? strdup(endpoint) : NULL;
    if (!copy) {
        return hsdi_fail(err, HSD_ENOMEM, path, "no memory for a key");
    }
    grown[n].endpoint = copy;
    memcpy(grown[n].key, key.key, sizeof key.key);
    keyring->n_workers++;
    return HSD_OK;
}

hsd_status hsdi_keyring_set_clients(hsdi_keyring *keyring, const char *path, const hsdi_log *log,
                                    hsd_error *err)
{
    bool is_listed;
    hsd_status status = need_own(keyring, path, err);
    if (status == HSD_OK) {
        status = hsdi_clients_find(path, NULL, &is_listed, NULL, err);
    }
    if (status == HSD_OK) {
        free(keyring->clients);
        keyring->clients = strdup(path);
        keyring->log = *log;
        status = keyring->clients ? HSD_OK : hsdi_fail(err, HSD_ENOMEM, path, "no memory");
    }
    return status;
}

static const char *find(const hsdi_keyring *keyring, const char *endpoint)
{
    for (int i = 0; i < keyring->n_workers; i++) {
        if (strcmp(keyring->workers[i].endpoint, endpoint) == 0) {
            return keyring->workers[i].key;
        }
    }
    return NULL;
}

bool hsdi_keyring_knows(const hsdi_keyring *keyring, const char *endpoint)
{
    return find(keyring, endpoint) != NULL;
}

const char *hsdi_keyring_clients(const hsdi_keyring *keyring, hsdi_log *log)
{
    *log = keyring->log;
    return keyring->clients;
}

static bool set_key(void *socket, int option, const char key[HSDI_KEY_CHARS + 1])
{
    return zmq_setsockopt(socket, option, key, HSDI_KEY_CHARS + 1) == 0;
}

bool hsdi_keyring_arm_link(const hsdi_keyring *keyring, const char *endpoint, void *socket)
{
    const char *key = find(keyring, endpoint);
    return !key || (set_key(socket, ZMQ_CURVE_PUBLICKEY, keyring->own.public_key) &&
                    set_key(socket, ZMQ_CURVE_SECRETKEY, keyring->own.secret_key) &&
                    set_key(socket, ZMQ_CURVE_SERVERKEY, key));
}

bool hsdi_keyring_arm_listener(const hsdi_keyring *keyring, void *socket)
{
    int yes = 1;
    return !keyring->clients ||
           (zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &yes, sizeof yes) == 0 &&
            set_key(socket, ZMQ_CURVE_SECRETKEY, keyring->own.secret_key) &&
            zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, ZAP_DOMAIN, sizeof ZAP_DOMAIN - 1) == 0);
}
