/// One ZeroMQ context with one I/O thread: the frames are few and small.
#include <base/error.h>
#include <pipelines/transport/wire.h>
#include <stdlib.h>
#include <zmq.h>

struct hsdi_context {
    void *zmq; ///< NULL on a wire
    const hsdi_wire *wire;
    void *wire_self;
    hsdi_keyring *keyring;
};

hsd_status hsdi_context_create_on(const hsdi_wire *wire, void *self, hsdi_context **out,
                                  hsd_error *err)
{
    hsdi_context *context = calloc(1, sizeof *context);
    if (!context) {
        return hsdi_fail(err, HSD_ENOMEM, "context", "no memory for a messaging context");
    }
    hsd_status status = hsdi_keyring_create(&context->keyring, err);
    if (status != HSD_OK) {
        free(context);
        return status;
    }
    context->wire = wire;
    context->wire_self = self;
    *out = context;
    return HSD_OK;
}

hsd_status hsdi_context_create(hsdi_context **out, hsd_error *err)
{
    hsdi_context *context = NULL;
    hsd_status status = hsdi_context_create_on(NULL, NULL, &context, err);
    if (status != HSD_OK) {
        return status;
    }
    context->zmq = zmq_ctx_new();
    if (!context->zmq) {
        hsdi_keyring_destroy(&context->keyring);
        free(context);
        return hsdi_fail(err, HSD_ETRANSPORT, "context", "ZeroMQ: %s", zmq_strerror(zmq_errno()));
    }
    zmq_ctx_set(context->zmq, ZMQ_BLOCKY, 0);
    *out = context;
    return HSD_OK;
}

void hsdi_context_destroy(hsdi_context **context)
{
    if (*context) {
        while ((*context)->zmq && zmq_ctx_term((*context)->zmq) != 0 && zmq_errno() == EINTR) {
        }
        hsdi_keyring_destroy(&(*context)->keyring);
        free(*context);
        *context = NULL;
    }
}

void *hsdi_context_handle(const hsdi_context *context)
{
    return context->zmq;
}

hsdi_keyring *hsdi_context_keyring(const hsdi_context *context)
{
    return context->keyring;
}

const hsdi_wire *hsdi_context_wire(const hsdi_context *context, void **self)
{
    *self = context->wire_self;
    return context->wire;
}
