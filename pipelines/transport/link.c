/// ZeroMQ sockets behind the frames of link.h: DEALER on a session's side, ROUTER on a worker's.
///
/// Nothing here waits except the two wait functions, and nothing lingers: a frame that cannot go
/// now is the caller's to give up. A context on a wire (wire.h) has no sockets: its functions are
/// called instead.
#include <base/clock.h>
#include <base/error.h>
#include <errno.h>
#include <pipelines/transport/link.h>
#include <pipelines/transport/wire.h>
#include <pipelines/transport/zap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

enum { LINKS_WAIT_MAX = 64 };

static const int CLOSE_LINGER_MS = 100; ///< a last frame (CLOSE) may still go out
static const int HIGH_WATER = 1000;     ///< frames queued per direction; a step needs four

/// Between hosts a peer can vanish without a word: it is asked every second, given up after two
/// more without an answer, and called again with fresh packets every two seconds instead of TCP's
/// ever longer waits.
static const int HEARTBEAT_MS = 1000, HEARTBEAT_TIMEOUT_MS = 2000, CONNECT_TIMEOUT_MS = 2000;
static const int HANDSHAKE_MS = 10000;      ///< a worker that computes answers later
static const int64_t RENEW_NS = 5000000000; ///< see renew_if_dead

/// The end of a link or listener on a wire.
typedef struct wire_end {
    const hsdi_wire *wire; ///< NULL: ZeroMQ
    void *self;
    int end;
} wire_end;

struct hsdi_link {
    void *socket;
    wire_end on;
    zmq_msg_t frame; ///< the one that was received last
    hsdi_context *context;
    char *endpoint;
    int64_t stuck_ns; ///< since when nothing could be sent; 0: the last frame went
};

struct hsdi_listener {
    void *socket;
    wire_end on;
    hsdi_zap *zap; ///< NULL: no keys are asked for
    zmq_msg_t frame;
    int wake_fd;
    char *path; ///< ipc://: of the socket's file; NULL: there is none
    dev_t device;
    ino_t inode; ///< of that file, which a successor may have replaced
};

static wire_end wire_of(const hsdi_context *context)
{
    wire_end on = {0};
    on.wire = hsdi_context_wire(context, &on.self);
    return on;
}

static hsd_status fail_zmq(hsd_error *err, const char *endpoint, const char *what)
{
    int code = zmq_errno();
    hsdi_fail(err, HSD_ETRANSPORT, endpoint, "cannot %s: %s", what, zmq_strerror(code));
    if (err) {
        err->vendor_code = code;
    }
    return HSD_ETRANSPORT;
}

static void set_int(void *socket, int option, int value)
{
    (void)zmq_setsockopt(socket, option, &value, sizeof value);
}

static void *open_socket(hsdi_context *context, int type, const char *endpoint)
{
    void *socket = zmq_socket(hsdi_context_handle(context), type);
    if (socket) {
        int64_t most = HSDI_FRAME_BYTES_MAX;
        (void)zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &most, sizeof most);
        set_int(socket, ZMQ_LINGER, 0);
        set_int(socket, ZMQ_SNDHWM, HIGH_WATER);
        set_int(socket, ZMQ_RCVHWM, HIGH_WATER);
        set_int(socket, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS);
    }
    if (socket && hsdi_endpoint_is_tcp(endpoint)) {
        set_int(socket, ZMQ_IPV6, hsdi_endpoint_is_ipv6(endpoint));
        set_int(socket, ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS);
        set_int(socket, ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS);
        set_int(socket, ZMQ_HEARTBEAT_TTL, HEARTBEAT_MS + HEARTBEAT_TIMEOUT_MS);
    }
    return socket;
}

/// A session's socket, not connected yet; NULL when ZeroMQ refuses.
static void *open_dealer(hsdi_context *context, const char *endpoint)
{
    bool is_inproc = hsdi_endpoint_is_inproc(endpoint);
    void *socket = open_socket(context, ZMQ_DEALER, endpoint);
    if (!socket) {
        return NULL;
    }
    // Queue nothing for a peer that is not there: a full queue of old steps helps nobody.
    set_int(socket, ZMQ_IMMEDIATE, !is_inproc);
    set_int(socket, ZMQ_LINGER, CLOSE_LINGER_MS);
    set_int(socket, ZMQ_RECONNECT_IVL, 20);
    set_int(socket, ZMQ_RECONNECT_IVL_MAX, 500);
    set_int(socket, ZMQ_CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS);
    if (!is_inproc && !hsdi_keyring_arm_link(hsdi_context_keyring(context), endpoint, socket)) {
        zmq_close(socket);
        return NULL;
    }
    return socket;
}

static hsd_status check_link(hsdi_context *context, const char *endpoint, hsd_error *err)
{
    bool has_keys = endpoint && hsdi_keyring_knows(hsdi_context_keyring(context), endpoint);
    if (wire_of(context).wire) {
        return endpoint ? HSD_OK : hsdi_fail(err, HSD_EINVAL, "endpoint", "there is none");
    }
    return hsdi_endpoint_check(endpoint, HSDI_ENDPOINT_CONNECT, has_keys, err);
}

hsd_status hsdi_link_connect(hsdi_context *context, const char *endpoint, hsdi_link **out,
                             hsd_error *err)
{
    hsd_status status = check_link(context, endpoint, err);
    if (status != HSD_OK) {
        return status;
    }
    hsdi_link *link = calloc(1, sizeof *link);
    if (!link) {
        return hsdi_fail(err, HSD_ENOMEM, endpoint, "no memory for a link");
    }
    zmq_msg_init(&link->frame);
    link->context = context;
    link->endpoint = strdup(endpoint);
    wire_end on = wire_of(context);
    link->socket = link->endpoint && !on.wire ? open_dealer(context, endpoint) : NULL;
    if (!link->endpoint) {
        status = hsdi_fail(err, HSD_ENOMEM, endpoint, "no memory for a link");
    } else if (on.wire) {
        status = on.wire->connect(on.self, endpoint, &on.end, err);
        link->on = status == HSD_OK ? on : (wire_end){0};
    } else if (!link->socket || zmq_connect(link->socket, endpoint) != 0) {
        status = fail_zmq(err, endpoint, "connect");
    }
    if (status != HSD_OK) {
        hsdi_link_close(&link);
        return status;
    }
    *out = link;
    return HSD_OK;
}

void hsdi_link_close(hsdi_link **link)
{
    if (*link) {
        zmq_msg_close(&(*link)->frame);
        if ((*link)->on.wire) {
            (*link)->on.wire->close((*link)->on.self, (*link)->on.end);
        }
        if ((*link)->socket) {
            zmq_close((*link)->socket);
        }
        free((*link)->endpoint);
        free(*link);
        *link = NULL;
    }
}

/// ZeroMQ connects again by itself, but never after a refused handshake (libzmq 4.3: a protocol
/// error ends the connection for good). So a link that could send nothing for a while gets a new
/// socket: the worker may have been given our key, or been started again with keys.
static void renew_if_dead(hsdi_link *link)
{
    int64_t now_ns = hsdi_now_ns();
    link->stuck_ns = link->stuck_ns ? link->stuck_ns : now_ns;
    if (now_ns - link->stuck_ns < RENEW_NS || hsdi_endpoint_is_inproc(link->endpoint)) {
        return;
    }
    link->stuck_ns = now_ns;
    void *socket = open_dealer(link->context, link->endpoint);
    if (socket && zmq_connect(socket, link->endpoint) == 0) {
        zmq_close(link->socket);
        link->socket = socket;
    } else if (socket) {
        zmq_close(socket);
    }
}

static long poll_ms(int64_t timeout_ns)
{
    return timeout_ns < 0 ? -1 : (long)((timeout_ns + 999999) / 1000000);
}

/// What a handshake's event says; NULL when it says nothing yet.
static const char *explain_event(uint16_t event, uint32_t value, bool has_keys)
{
    switch (event) {
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        return "it is connected, but says nothing: is it busy, or no hsd worker?";
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        return value >= 500 ? "it cannot read its list of clients"
                            : "it refused our key, which is not on its list of clients";
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        if (value != ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH) {
            return "what listens there does not speak this protocol";
        }
        return has_keys ? "it runs without keys, and we expect it to have one"
                        : "it asks for a key, and we gave none";
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        return has_keys ? "it closed the handshake: it runs without keys, or the public key we "
                          "have is not its own"
                        : "it closed the handshake: it probably asks for a key, and we gave none";
    case ZMQ_EVENT_CONNECT_RETRIED:
        return "nobody listens there, or something is between";
    default:
        return NULL;
    }
}

/// The next event of a monitor, or 0.
static uint16_t next_event(void *monitor, uint32_t *value)
{
    uint16_t event = 0;
    zmq_msg_t part;
    zmq_msg_init(&part);
    // The first part is a u16 event and a u32 value, unaligned; the second one is the address.
    if (zmq_msg_recv(&part, monitor, ZMQ_DONTWAIT) == sizeof event + sizeof *value) {
        memcpy(&event, zmq_msg_data(&part), sizeof event);
        memcpy(value, (const char *)zmq_msg_data(&part) + sizeof event, sizeof *value);
    }
    while (zmq_msg_more(&part) && zmq_msg_recv(&part, monitor, ZMQ_DONTWAIT) >= 0) {
    }
    zmq_msg_close(&part);
    return event;
}

static const char *watch(void *monitor, int64_t timeout_ns, bool has_keys)
{
    const char *why = NULL;
    int64_t now_ns = hsdi_now_ns(), deadline_ns = now_ns + timeout_ns;
    for (; !why && now_ns < deadline_ns; now_ns = hsdi_now_ns()) {
        uint32_t value = 0;
        zmq_pollitem_t item = {.socket = monitor, .events = ZMQ_POLLIN};
        (void)zmq_poll(&item, 1, poll_ms(deadline_ns - now_ns));
        uint16_t event = next_event(monitor, &value);
        why = event ? explain_event(event, value, has_keys) : NULL;
    }
    return why ? why : "no connection, or no handshake, in time";
}

/// Events are sent by the context's only I/O thread, which waits for as long as nobody would
/// receive them. So a socket is told to send no more before its monitor goes; else an event between
/// the two stops all links of the process for good.
static void end_watch(void *socket, void *monitor)
{
    if (socket) {
        (void)zmq_socket_monitor(socket, NULL, 0);
    }
    if (monitor) {
        set_int(monitor, ZMQ_LINGER, 0);
        zmq_close(monitor);
    }
    if (socket) {
        set_int(socket, ZMQ_LINGER, 0);
        zmq_close(socket);
    }
}

void hsdi_link_explain(hsdi_context *context, const char *endpoint, int64_t timeout_ns, char *out,
                       size_t cap)
{
    static const int events = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH |
                              ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                              ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_CONNECT_RETRIED;
    bool is_inproc = hsdi_endpoint_is_inproc(endpoint) || wire_of(context).wire;
    bool has_keys = hsdi_keyring_knows(hsdi_context_keyring(context), endpoint);
    const char *why = is_inproc ? "nobody listens there" : "for an unknown reason";
    char name[64];
    void *socket = is_inproc ? NULL : open_dealer(context, endpoint);
    void *monitor = socket ? zmq_socket(hsdi_context_handle(context), ZMQ_PAIR) : NULL;
    snprintf(name, sizeof name, "inproc://hsd-explain-%p", socket);
    if (monitor && zmq_socket_monitor(socket, name, events) == 0 &&
        zmq_connect(monitor, name) == 0 && zmq_connect(socket, endpoint) == 0) {
        why = watch(monitor, timeout_ns, has_keys);
    }
    end_watch(socket, monitor);
    snprintf(out, cap, "%s", why);
}

static hsd_status send_status(int sent)
{
    if (sent >= 0) {
        return HSD_OK;
    }
    int code = zmq_errno();
    return code == EAGAIN || code == EHOSTUNREACH || code == EINTR ? HSD_ETIMEOUT : HSD_ETRANSPORT;
}

hsd_status hsdi_link_send(hsdi_link *link, const void *frame, size_t n_bytes)
{
    if (link->on.wire) {
        return link->on.wire->send(link->on.self, link->on.end, NULL, frame, n_bytes);
    }
    hsd_status status = send_status(zmq_send(link->socket, frame, n_bytes, ZMQ_DONTWAIT));
    if (status == HSD_OK) {
        link->stuck_ns = 0;
    } else {
        renew_if_dead(link);
    }
    return status;
}

/// One part. HSD_ETIMEOUT when there is none.
static hsd_status receive_part(void *socket, zmq_msg_t *part)
{
    if (zmq_msg_recv(part, socket, ZMQ_DONTWAIT) >= 0) {
        return HSD_OK;
    }
    int code = zmq_errno();
    return code == EAGAIN || code == EINTR ? HSD_ETIMEOUT : HSD_ETRANSPORT;
}

/// The last part of a frame. Further parts are taken away; false when there were any.
static bool receive_only_part(void *socket, zmq_msg_t *part)
{
    bool is_only = true;
    while (zmq_msg_more(part)) {
        is_only = false;
        if (receive_part(socket, part) != HSD_OK) {
            break;
        }
    }
    return is_only;
}

hsd_status hsdi_link_receive(hsdi_link *link, const void **frame, size_t *n_bytes)
{
    hsd_status status;
    if (link->on.wire) {
        return link->on.wire->receive(link->on.self, link->on.end, NULL, frame, n_bytes);
    }
    do {
        status = receive_part(link->socket, &link->frame);
        if (status != HSD_OK) {
            return status;
        }
    } while (!receive_only_part(link->socket, &link->frame));
    *frame = zmq_msg_data(&link->frame);
    *n_bytes = zmq_msg_size(&link->frame);
    return HSD_OK;
}

void hsdi_links_wait(hsdi_link *const *links, int n_links, int64_t timeout_ns)
{
    zmq_pollitem_t items[LINKS_WAIT_MAX];
    int ends[LINKS_WAIT_MAX], n = 0;
    const wire_end *on = NULL;
    for (int i = 0; i < n_links && n < LINKS_WAIT_MAX; i++) {
        if (links[i] && links[i]->on.wire) {
            on = &links[i]->on;
            ends[n++] = on->end;
        } else if (links[i]) {
            items[n++] = (zmq_pollitem_t){.socket = links[i]->socket, .events = ZMQ_POLLIN};
        }
    }
    if (on) { // a context's links are all of one kind
        on->wire->wait(on->self, ends, n, timeout_ns);
    } else {
        (void)zmq_poll(items, n, poll_ms(timeout_ns));
    }
}

/// Which file an ipc:// listener has made. ZeroMQ (4.3) leaves it behind.
static hsd_status note_file(hsdi_listener *listener, const char *endpoint, hsd_error *err)
{
    struct stat file;
    const char *path = endpoint + strlen("ipc://");
    if (strncmp(endpoint, "ipc://", strlen("ipc://")) != 0 || lstat(path, &file) != 0) {
        return HSD_OK; // no file: another transport, or an abstract name
    }
    listener->path = strdup(path);
    listener->device = file.st_dev;
    listener->inode = file.st_ino;
    return listener->path ? HSD_OK : hsdi_fail(err, HSD_ENOMEM, endpoint, "no memory");
}

/// Remove that file, unless somebody else listens there by now.
static void remove_file(hsdi_listener *listener)
{
    struct stat file;
    if (listener->path && lstat(listener->path, &file) == 0 && file.st_dev == listener->device &&
        file.st_ino == listener->inode) {
        (void)unlink(listener->path);
    }
    free(listener->path);
}

/// The socket of a listener, bound. What was made is the listener's also after a failure.
static hsd_status bind_router(hsdi_listener *listener, hsdi_context *context, const char *endpoint,
                              hsd_error *err)
{
    hsdi_keyring *keyring = hsdi_context_keyring(context);
    hsdi_log log;
    const char *clients = hsdi_keyring_clients(keyring, &log);
    bool has_keys = clients && endpoint && !hsdi_endpoint_is_inproc(endpoint);
    hsd_status status = hsdi_endpoint_check(endpoint, HSDI_ENDPOINT_LISTEN, has_keys, err);
    if (status == HSD_OK && has_keys) {
        // Before the socket: from its first client on somebody must be there to be asked.
        status = hsdi_zap_open(hsdi_context_handle(context), clients, &log, &listener->zap, err);
    }
    if (status != HSD_OK) {
        return status;
    }
    listener->socket = open_socket(context, ZMQ_ROUTER, endpoint);
    if (listener->socket) {
        set_int(listener->socket, ZMQ_ROUTER_MANDATORY, 1);
    }
    if (!listener->socket || (has_keys && !hsdi_keyring_arm_listener(keyring, listener->socket)) ||
        zmq_bind(listener->socket, endpoint) != 0) {
        return fail_zmq(err, endpoint, "listen");
    }
    return note_file(listener, endpoint, err);
}

hsd_status hsdi_listener_bind(hsdi_context *context, const char *endpoint, hsdi_listener **out,
                              hsd_error *err)
{
    hsdi_listener *listener = calloc(1, sizeof *listener);
    if (!listener) {
        return hsdi_fail(err, HSD_ENOMEM, endpoint, "no memory for a listener");
    }
    zmq_msg_init(&listener->frame);
    listener->wake_fd = -1;
    wire_end on = wire_of(context);
    if (on.wire) {
        hsd_status bound = on.wire->bind(on.self, endpoint, &on.end, err);
        listener->on = bound == HSD_OK ? on : (wire_end){0};
        *out = listener;
        if (bound != HSD_OK) {
            hsdi_listener_close(out);
        }
        return bound;
    }
    listener->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    hsd_status status = listener->wake_fd < 0 ? hsdi_fail_errno(err, HSD_ETRANSPORT, endpoint,
                                                                errno, "cannot make an event")
                                              : bind_router(listener, context, endpoint, err);
    if (status != HSD_OK) {
        hsdi_listener_close(&listener);
        return status;
    }
    *out = listener;
    return HSD_OK;
}

void hsdi_listener_close(hsdi_listener **listener)
{
    if (*listener) {
        zmq_msg_close(&(*listener)->frame);
        if ((*listener)->on.wire) {
            (*listener)->on.wire->close((*listener)->on.self, (*listener)->on.end);
        }
        remove_file(*listener);
        if ((*listener)->socket) {
            zmq_close((*listener)->socket);
        }
        hsdi_zap_close(&(*listener)->zap);
        if ((*listener)->wake_fd >= 0) {
            close((*listener)->wake_fd);
        }
        free(*listener);
        *listener = NULL;
    }
}

hsd_status hsdi_listener_receive(hsdi_listener *listener, hsdi_peer *from, const void **frame,
                                 size_t *n_bytes)
{
    bool is_whole;
    if (listener->on.wire) {
        return listener->on.wire->receive(listener->on.self, listener->on.end, from, frame,
                                          n_bytes);
    }
    if (listener->zap) {
        hsdi_zap_serve(listener->zap);
    }
    do {
        hsd_status status = receive_part(listener->socket, &listener->frame);
        if (status != HSD_OK) {
            return status;
        }
        // A ROUTER puts the sender's id in front; ids have at most 255 bytes.
        size_t n = zmq_msg_size(&listener->frame);
        is_whole = n <= HSDI_PEER_ID_MAX && zmq_msg_more(&listener->frame);
        if (is_whole) {
            from->n_bytes = (uint8_t)n;
            memcpy(from->id, zmq_msg_data(&listener->frame), n);
            is_whole = receive_part(listener->socket, &listener->frame) == HSD_OK;
        }
        is_whole = receive_only_part(listener->socket, &listener->frame) && is_whole;
    } while (!is_whole);
    *frame = zmq_msg_data(&listener->frame);
    *n_bytes = zmq_msg_size(&listener->frame);
    return HSD_OK;
}

hsd_status hsdi_listener_send(hsdi_listener *listener, const hsdi_peer *to, const void *frame,
                              size_t n_bytes)
{
    if (listener->on.wire) {
        return listener->on.wire->send(listener->on.self, listener->on.end, to, frame, n_bytes);
    }
    int sent = zmq_send(listener->socket, to->id, to->n_bytes, ZMQ_DONTWAIT | ZMQ_SNDMORE);
    if (sent >= 0) {
        sent = zmq_send(listener->socket, frame, n_bytes, ZMQ_DONTWAIT);
    }
    return send_status(sent);
}

void hsdi_listener_wait(hsdi_listener *listener, int64_t timeout_ns)
{
    if (listener->on.wire) {
        listener->on.wire->wait(listener->on.self, &listener->on.end, 1, timeout_ns);
        return;
    }
    zmq_pollitem_t items[] = {
        {.socket = listener->socket, .events = ZMQ_POLLIN},
        {.fd = listener->wake_fd, .events = ZMQ_POLLIN},
        {.socket = listener->zap ? hsdi_zap_socket(listener->zap) : NULL, .events = ZMQ_POLLIN},
    };
    if (zmq_poll(items, listener->zap ? 3 : 2, poll_ms(timeout_ns)) > 0 && items[1].revents) {
        uint64_t count;
        (void)!read(listener->wake_fd, &count, sizeof count);
    }
}

void hsdi_listener_wake(hsdi_listener *listener)
{
    if (listener->on.wire) {
        listener->on.wire->wake(listener->on.self, listener->on.end);
        return;
    }
    int saved = errno;
    uint64_t one = 1;
    (void)!write(listener->wake_fd, &one, sizeof one);
    errno = saved;
}
