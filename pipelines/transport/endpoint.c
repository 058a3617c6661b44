/// Which endpoints may be opened: threads, processes, this host's loopback addresses, and with
/// keys any host.
#include <arpa/inet.h>
#include <base/error.h>
#include <pipelines/transport/link.h>
#include <string.h>
#include <sys/un.h>

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (strcmp(host, "localhost") == 0) {
        return true;
    }
    if (inet_pton(AF_INET, host, &v4) == 1) {
        return ntohl(v4.s_addr) >> 24 == 127;
    }
    return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/// Splits "host:port" or "[host]:port"; false when it has another form.
static bool split_tcp(const char *text, char *host, size_t cap, const char **port)
{
    const char *end, *colon;
    if (text[0] == '[') {
        end = strchr(++text, ']');
        colon = end ? end + 1 : NULL;
    } else {
        end = colon = strrchr(text, ':');
    }
    if (!end || *colon != ':' || (size_t)(end - text) >= cap) {
        return false;
    }
    memcpy(host, text, (size_t)(end - text));
    host[end - text] = '\0';
    *port = colon + 1;
    return true;
}

static bool is_port(const char *text)
{
    long port = 0;
    for (const char *c = text; *c; c++) {
        if (*c < '0' || *c > '9' || c - text >= 5) {
            return false;
        }
        port = port * 10 + (*c - '0');
    }
    return port >= 1 && port <= 65535;
}

/// An address, a name, an interface, or for a listener "*"; not ZeroMQ's "source;target".
static bool is_host(const char *host, hsdi_endpoint_use use)
{
    if (strcmp(host, "*") == 0) {
        return use == HSDI_ENDPOINT_LISTEN;
    }
    const char *plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:%";
    return host[0] && strspn(host, plain) == strlen(host);
}

static hsd_status check_tcp(const char *endpoint, hsdi_endpoint_use use, bool has_keys,
                            hsd_error *err)
{
    char host[256];
    const char *port;
    if (!split_tcp(endpoint + strlen("tcp://"), host, sizeof host, &port) || !is_port(port) ||
        !is_host(host, use)) {
        return hsdi_fail(err, HSD_EINVAL, endpoint, "the endpoint must be tcp://address:port");
    }
    if (has_keys || is_loopback(host)) {
        return HSD_OK;
    }
    return hsdi_fail(err, HSD_EINVAL, endpoint,
                     use == HSDI_ENDPOINT_LISTEN
                         ? "other hosts could reach this address, so it needs keys: make them with "
                           "`hsd keygen NAME', then give --key and --clients (docs/workers.md)"
                         : "another host is reached with keys only: make ours with `hsd keygen "
                           "NAME', then give --key and the worker's --worker-key "
                           "(docs/workers.md)");
}

bool hsdi_endpoint_is_ipv6(const char *endpoint)
{
    return starts_with(endpoint, "tcp://[") || starts_with(endpoint, "tcp://*");
}

int hsdi_endpoint_spin_us(const char *endpoint, int n_cores)
{
    enum { SPIN_US = 100 };
    int n_needed = hsdi_endpoint_is_inproc(endpoint) ? 2 : 4;
    return n_cores >= n_needed ? SPIN_US : 0;
}

bool hsdi_endpoint_is_tcp(const char *endpoint)
{
    return starts_with(endpoint, "tcp://");
}

bool hsdi_endpoint_is_inproc(const char *endpoint)
{
    return starts_with(endpoint, "inproc://");
}

hsd_status hsdi_endpoint_check(const char *endpoint, hsdi_endpoint_use use, bool has_keys,
                               hsd_error *err)
{
    if (!endpoint) {
        return hsdi_fail(err, HSD_EINVAL, "endpoint", "the endpoint is missing");
    }
    if (hsdi_endpoint_is_tcp(endpoint)) {
        return check_tcp(endpoint, use, has_keys, err);
    }
    if (starts_with(endpoint, "ipc://")) {
        size_t n = strlen(endpoint + strlen("ipc://"));
        if (n >= 1 && n < sizeof((struct sockaddr_un *)NULL)->sun_path &&
            !strchr(endpoint + strlen("ipc://"), '*')) {
            return HSD_OK;
        }
        return hsdi_fail(err, HSD_EINVAL, endpoint,
                         "the path of an ipc:// endpoint has 1..%zu bytes",
                         sizeof((struct sockaddr_un *)NULL)->sun_path - 1);
    }
    if (hsdi_endpoint_is_inproc(endpoint) && endpoint[strlen("inproc://")]) {
        return HSD_OK;
    }
    return hsdi_fail(err, HSD_EINVAL, endpoint,
                     "the endpoint must begin with inproc://, ipc:// or tcp:// and name something");
}
