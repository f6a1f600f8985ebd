/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The words that reports use for what the lint knows about a guest: its operating system, its
 * architecture, how bad a finding is. All are static, and none is ever NULL.
 */
#include "timehandoff/lint.h"

const char *th_guest_os_name(enum th_guest_os os) {
    static const char *const names[] = {
        [TH_GUEST_OS_UNKNOWN] = "unknown", [TH_GUEST_OS_LINUX] = "Linux",
        [TH_GUEST_OS_WINDOWS] = "Windows", [TH_GUEST_OS_BSD] = "BSD",
        [TH_GUEST_OS_OTHER] = "other",
    };

    return (size_t)os < TH_ELEMENTS(names) ? names[os] : "unknown";
}

const char *th_guest_arch_name(enum th_guest_arch arch) {
    static const char *const names[] = {
        [TH_GUEST_ARCH_OTHER] = "other",
        [TH_GUEST_ARCH_X86] = "x86",
        [TH_GUEST_ARCH_ARM64] = "arm64",
    };

    return (size_t)arch < TH_ELEMENTS(names) ? names[arch] : "other";
}

const char *th_lint_severity_name(enum th_lint_severity severity) {
    static const char *const names[] = {
        [TH_LINT_ERROR] = "error",
        [TH_LINT_WARNING] = "warning",
        [TH_LINT_HINT] = "hint",
    };

    return severity >= TH_LINT_ERROR && severity <= TH_LINT_HINT ? names[severity] : "unknown";
}
