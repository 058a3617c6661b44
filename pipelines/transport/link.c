/// ZeroMQ sockets behind the frames of link.h: DEALER on a session's side, ROUTER on a worker's.
///
/// Nothing here waits except the two wait functions, and nothing lingers: a frame that cannot go
/// now is the caller's to give up.
#include <base/error.h>
#include <errno.h>
#include <pipelines/transport/link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

enum { LINKS_WAIT_MAX = 64 };

static const int CLOSE_LINGER_MS = 100; ///< a last frame (CLOSE) may still go out
static const int HIGH_WATER = 1000;     ///< frames queued per direction; a step needs four

struct hsdi_link {
    void *socket;
    zmq_msg_t frame; ///< the one that was received last
};

struct hsdi_listener {
    void *socket;
    zmq_msg_t frame;
    int wake_fd;
};

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

static void *open_socket(hsdi_context *context, int type)
{
    void *socket = zmq_socket(hsdi_context_handle(context), type);
    if (socket) {
        int64_t most = HSDI_FRAME_BYTES_MAX;
        (void)zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &most, sizeof most);
        set_int(socket, ZMQ_LINGER, 0);
        set_int(socket, ZMQ_SNDHWM, HIGH_WATER);
        set_int(socket, ZMQ_RCVHWM, HIGH_WATER);
    }
    return socket;
}

hsd_status hsdi_link_connect(hsdi_context *context, const char *endpoint, hsdi_link **out,
                             hsd_error *err)
{
    hsd_status status = hsdi_endpoint_check(endpoint, err);
    if (status != HSD_OK) {
        return status;
    }
    hsdi_link *link = calloc(1, sizeof *link);
    if (!link) {
        return hsdi_fail(err, HSD_ENOMEM, endpoint, "no memory for a link");
    }
    zmq_msg_init(&link->frame);
    link->socket = open_socket(context, ZMQ_DEALER);
    if (link->socket) {
        // Queue nothing for a peer that is not there: a full queue of old steps helps nobody.
        set_int(link->socket, ZMQ_IMMEDIATE, strncmp(endpoint, "inproc", 6) != 0);
        set_int(link->socket, ZMQ_LINGER, CLOSE_LINGER_MS);
        set_int(link->socket, ZMQ_RECONNECT_IVL, 20);
        set_int(link->socket, ZMQ_RECONNECT_IVL_MAX, 500);
    }
    if (!link->socket || zmq_connect(link->socket, endpoint) != 0) {
        status = fail_zmq(err, endpoint, "connect");
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
        if ((*link)->socket) {
            zmq_close((*link)->socket);
        }
        free(*link);
        *link = NULL;
    }
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
    return send_status(zmq_send(link->socket, frame, n_bytes, ZMQ_DONTWAIT));
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

static long poll_ms(int64_t timeout_ns)
{
    return timeout_ns < 0 ? -1 : (long)((timeout_ns + 999999) / 1000000);
}

void hsdi_links_wait(hsdi_link *const *links, int n_links, int64_t timeout_ns)
{
    zmq_pollitem_t items[LINKS_WAIT_MAX];
    int n = 0;
    for (int i = 0; i < n_links && n < LINKS_WAIT_MAX; i++) {
        if (links[i]) {
            items[n++] = (zmq_pollitem_t){.socket = links[i]->socket, .events = ZMQ_POLLIN};
        }
    }
    (void)zmq_poll(items, n, poll_ms(timeout_ns));
}

hsd_status hsdi_listener_bind(hsdi_context *context, const char *endpoint, hsdi_listener **out,
                              hsd_error *err)
{
    hsd_status status = hsdi_endpoint_check(endpoint, err);
    if (status != HSD_OK) {
        return status;
    }
    hsdi_listener *listener = calloc(1, sizeof *listener);
    if (!listener) {
        return hsdi_fail(err, HSD_ENOMEM, endpoint, "no memory for a listener");
    }
    zmq_msg_init(&listener->frame);
    listener->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    listener->socket = open_socket(context, ZMQ_ROUTER);
    if (listener->socket) {
        set_int(listener->socket, ZMQ_ROUTER_MANDATORY, 1);
    }
    if (listener->wake_fd < 0) {
        status = hsdi_fail_errno(err, HSD_ETRANSPORT, endpoint, errno, "cannot make an event");
    } else if (!listener->socket || zmq_bind(listener->socket, endpoint) != 0) {
        status = fail_zmq(err, endpoint, "listen");
    }
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
        if ((*listener)->socket) {
            zmq_close((*listener)->socket);
        }
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
    int sent = zmq_send(listener->socket, to->id, to->n_bytes, ZMQ_DONTWAIT | ZMQ_SNDMORE);
    if (sent >= 0) {
        sent = zmq_send(listener->socket, frame, n_bytes, ZMQ_DONTWAIT);
    }
    return send_status(sent);
}

void hsdi_listener_wait(hsdi_listener *listener, int64_t timeout_ns)
{
    zmq_pollitem_t items[] = {
        {.socket = listener->socket, .events = ZMQ_POLLIN},
        {.fd = listener->wake_fd, .events = ZMQ_POLLIN},
    };
    if (zmq_poll(items, 2, poll_ms(timeout_ns)) > 0 && items[1].revents) {
        uint64_t count;
        (void)!read(listener->wake_fd, &count, sizeof count);
    }
}

void hsdi_listener_wake(hsdi_listener *listener)
{
    int saved = errno;
    uint64_t one = 1;
    (void)!write(listener->wake_fd, &one, sizeof one);
    errno = saved;
}
