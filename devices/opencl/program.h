/// The program of kernels/opencl for a device: compiled once, kept in the user's cache folder.
#ifndef HSDI_DEVICES_OPENCL_PROGRAM_H
#define HSDI_DEVICES_OPENCL_PROGRAM_H

#include "devices/opencl/context.h"

#define HSDI_OCL_KEPT "opencl-program" ///< kind, see devices/keep.h

/// A text and how it is compiled.
typedef struct hsdi_ocl_text {
    const char *source;
    size_t n_bytes;
    const char *defines; ///< beside those of all programs; NULL: none
    bool newest;         ///< as the newest OpenCL C of the device, for functions of extensions
} hsdi_ocl_text;

/// Everything but products.
hsdi_ocl_text hsdi_ocl_common(void);

/// Compile kernels for a device. Errors: HSD_EDEVICE with the first lines of the compiler's log.
HSD_NODISCARD hsd_status hsdi_ocl_build(const hsdi_ocl_device *ocl, const hsdi_ocl_text *text,
                                        cl_program *out, hsd_error *err);

/// The same, or what an earlier run has kept for this device, driver, text and options. What is
/// kept and cannot be used is made again.
///
/// Result : note [cap], a sentence on where the program came from, and why it was not kept.
HSD_NODISCARD hsd_status hsdi_ocl_program(const hsdi_ocl_device *ocl, const hsdi_ocl_text *text,
                                          cl_program *out, char *note, size_t cap, hsd_error *err);

/// The program of a product (devices/tiles.h), made when it is first asked for. Owner: the device.
HSD_NODISCARD hsd_status hsdi_ocl_product_get(hsdi_ocl_device *ocl, const char *name,
                                              const char *defines, cl_program *out, hsd_error *err);
void hsdi_ocl_products_release(hsdi_ocl_device *ocl);

/// The key under which it is kept: the device's, the options and the hash of the text.
void hsdi_ocl_program_key(const hsdi_ocl_device *ocl, const hsdi_ocl_text *text, char *out,
                          size_t cap);

/// Platform, device and driver with their versions, a line each.
void hsdi_ocl_device_key(const hsdi_ocl_device *ocl, char *out, size_t cap);

#endif
