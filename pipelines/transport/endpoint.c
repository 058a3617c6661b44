/// Which endpoints may be opened: threads, processes, and hosts only as far as loopback.
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

static hsd_status check_tcp(const char *endpoint, hsd_error *err)
{
    char host[64];
    const char *port;
    if (!split_tcp(endpoint + strlen("tcp://"), host, sizeof host, &port) || !is_port(port)) {
        return hsdi_fail(err, HSD_EINVAL, endpoint, "the endpoint must be tcp://address:port");
    }
    if (!is_loopback(host)) {
        return hsdi_fail(err, HSD_EUNSUPPORTED, endpoint,
                         "tcp:// beyond loopback: CURVE keys needed, not in this version");
    }
    return HSD_OK;
}

hsd_status hsdi_endpoint_check(const char *endpoint, hsd_error *err)
{
    if (!endpoint) {
        return hsdi_fail(err, HSD_EINVAL, "endpoint", "the endpoint is missing");
    }
    if (starts_with(endpoint, "tcp://")) {
        return check_tcp(endpoint, err);
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
    if (starts_with(endpoint, "inproc://") && endpoint[strlen("inproc://")]) {
        return HSD_OK;
    }
    return hsdi_fail(err, HSD_EINVAL, endpoint,
                     "the endpoint must begin with inproc://, ipc:// or tcp:// and name something");
}
