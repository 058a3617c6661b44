/// @file network.h
/// Models as networks of fixed shapes, for devices that run nothing else (NPUs).
///
/// A range of a model's layers becomes two files of OpenVINO IR, version 11: NAME.xml has the
/// layers, NAME.bin the weights. hsd writes networks and does not run them. docs/devices.md says
/// what each input and output holds.
#ifndef HSD_NETWORK_H
#define HSD_NETWORK_H

#include <hsd/status.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { HSD_NETWORK_NAME_BYTES = 24, HSD_NETWORK_MAX_DIMS = 4 };

/// An input or output of a network. Plain data; arrays are row-major without gaps.
typedef struct hsd_network_port {
    char name[HSD_NETWORK_NAME_BYTES]; ///< "tokens", "past_k0", "out"
    bool is_output;
    char type[8]; ///< "i32" or "f32"
    int n_dims;
    int dims[HSD_NETWORK_MAX_DIMS];
} hsd_network_port;

/// How matrices are written. Vectors and tables are f32.
typedef enum hsd_network_type {
    HSD_NETWORK_F16 = 0, ///< rounded to nearest even
    HSD_NETWORK_F32 = 1,
    HSD_NETWORK_I8 = 2, ///< those of type Q8_0 exactly, as i8 with an f16 scale per 32; others f16
} hsd_network_type;

/// Fill with hsd_network_options_init, then change fields. Strings are borrowed for the call.
typedef struct hsd_network_options {
    const char *model_path; ///< GGUF file; NULL: the shipped draft
    const char *xml_path;   ///< what to write; files that are there are overwritten
    const char *bin_path;
    int begin;  ///< first layer; 0: from tokens, else from hidden rows
    int end;    ///< behind the last layer; n_layers or 0: up to the logits, else to hidden rows
    int n_rows; ///< rows of every pass, 1..1024; rows that are not needed are padded
    int n_ctx;  ///< cells of the caches, and positions that there are; 0: what the model was
                ///< trained on, up to 4096
    hsd_network_type type;
} hsd_network_options;

/// What was written.
typedef struct hsd_network {
    char architecture[32];
    uint64_t fingerprint; ///< of the model file
    int begin, end, n_layers, n_rows, n_ctx, n_vocab;
    bool from_tokens, to_logits;
    int n_ports;
    hsd_network_port *ports; ///< owned [n_ports], in the order of the XML
} hsd_network;

HSD_API void hsd_network_options_init(hsd_network_options *options);

/// Write a range of a model's layers as a network.
///
/// Result : *out, to be freed by hsd_network_fini. On failure files that were there stay as they
/// were. Errors : HSD_EUNSUPPORTED in a build without it, and for a matrix with a value beyond f16;
///          HSD_EIO with file and errno; HSD_EFORMAT; HSD_EINVAL with the option; HSD_ENOMEM.
/// Thread : any.
HSD_API HSD_NODISCARD hsd_status hsd_network_write(const hsd_network_options *options,
                                                   hsd_network *out, hsd_error *err);
/// Frees the ports and zeroes *network.
HSD_API void hsd_network_fini(hsd_network *network);

#ifdef __cplusplus
}
#endif
#endif
