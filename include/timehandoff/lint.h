/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What will go wrong with a guest's time, read from its domain XML before it does: facts are taken
 * out of the XML, a table of rules looks at the facts, each rule that applies is a finding with the
 * line that would put it right. Nothing is asked of libvirt or the guest.
 */
#ifndef TIMEHANDOFF_LINT_H
#define TIMEHANDOFF_LINT_H

#include <stdio.h>

#include "timehandoff/base.h"
#include "timehandoff/domain.h"

/* ---- facts ---- */

/* Told by libosinfo's metadata; without it, Hyper-V enlightenments tell Windows. */
enum th_guest_os {
    TH_GUEST_OS_UNKNOWN = 0,
    TH_GUEST_OS_LINUX,
    TH_GUEST_OS_WINDOWS,
    TH_GUEST_OS_BSD,
    TH_GUEST_OS_OTHER, /* libosinfo names one that is none of these */
};

/* "unknown", "Linux", "Windows", "BSD", "other". Never NULL. */
const char *th_guest_os_name(enum th_guest_os os);

enum th_guest_arch { TH_GUEST_ARCH_OTHER = 0, TH_GUEST_ARCH_X86, TH_GUEST_ARCH_ARM64 };

/* "other", "x86", "arm64". Never NULL. */
const char *th_guest_arch_name(enum th_guest_arch arch);

enum th_guest_timer_kind {
    TH_GUEST_TIMER_RTC = 0,
    TH_GUEST_TIMER_PIT,
    TH_GUEST_TIMER_HPET,
    TH_GUEST_TIMER_TSC,
    TH_GUEST_TIMER_KVMCLOCK,
    TH_GUEST_TIMER_HYPERVCLOCK,
    TH_GUEST_TIMER_ARMVTIMER,
    TH_GUEST_TIMER_PLATFORM,
    TH_GUEST_TIMER_KINDS,
};

/* Of an attribute's value: "" if it is not there, "?" if it does not fit (no value we know is that
 * long). */
#define TH_GUEST_WORD_SIZE 32

struct th_guest_timer {
    bool listed;
    enum th_ternary present; /* TH_UNKNOWN: not said */
    char tickpolicy[TH_GUEST_WORD_SIZE];
    char track[TH_GUEST_WORD_SIZE];
    char mode[TH_GUEST_WORD_SIZE];
    char frequency[TH_GUEST_WORD_SIZE];
};

/* The channel that is, or was meant to be, the guest agent's. */
enum th_guest_agent {
    TH_GUEST_AGENT_NONE = 0,
    TH_GUEST_AGENT_WRONG_NAME, /* something like org.qemu.guest_agent */
    TH_GUEST_AGENT_WRONG_TYPE, /* the name is right, but it is no virtio channel on a unix socket */
    TH_GUEST_AGENT_WRONG_MODE, /* QEMU is to connect to a socket that somebody else serves */
    TH_GUEST_AGENT_GOOD,
};

struct th_guest_facts {
    char name[256]; /* cleaned; "" if there is none */
    bool kvm;       /* else TCG */
    enum th_guest_arch arch;
    unsigned machine_major, machine_minor; /* QEMU's version in the machine type; 0: not said */
    enum th_guest_os os;

    char clock_offset[TH_GUEST_WORD_SIZE]; /* "" if there is no <clock>: libvirt takes utc */
    char clock_basis[TH_GUEST_WORD_SIZE];
    char clock_adjustment[TH_GUEST_WORD_SIZE];
    struct th_guest_timer timers[TH_GUEST_TIMER_KINDS];

    bool hyperv;             /* <hyperv> is there */
    bool hyperv_passthrough; /* mode='passthrough' */
    bool hyperv_relaxed, hyperv_vpindex, hyperv_synic, hyperv_stimer;
    bool kvm_hidden;
    bool cpu_not_migratable;              /* host-passthrough with migratable='off' */
    bool invtsc;                          /* the CPU feature is demanded */
    bool suspend_to_mem, suspend_to_disk; /* enabled='yes' */

    enum th_guest_agent agent;
    char agent_found[64];            /* what is wrong with it: its name, type or mode; cleaned */
    enum th_ternary agent_connected; /* live XML says so of a good channel */

    bool qemu_rtc;     /* <qemu:arg value='-rtc'/> */
    bool qemu_vmclock; /* a vmclock device is given to QEMU */

    bool has_policy;
    struct th_domain_policy policy;
    char complaint[160]; /* what th_domain_parse ignored in our metadata */
};

/*
 * Reads domain XML, as hostile as th_domain_parse takes it. Returns 0; -EBADMSG or -EFBIG with one
 * line in ret_error, also if it is no domain of QEMU; or -ENOMEM.
 */
int th_guest_facts_read(const char *xml, size_t size, struct th_guest_facts *ret_facts,
                        char *ret_error, size_t error_size);

/* ---- findings ---- */

enum th_lint_severity {
    TH_LINT_ERROR = 1, /* time will be wrong, or the guest cannot migrate or start */
    TH_LINT_WARNING,   /* time may be wrong */
    TH_LINT_HINT,      /* it could be better */
};

/* "error", "warning", "hint". Never NULL. */
const char *th_lint_severity_name(enum th_lint_severity severity);

#define TH_LINT_WHY_SIZE 320

struct th_lint_finding {
    const char *id; /* fixed, explained in timehandoff(1) */
    enum th_lint_severity severity;
    char why[TH_LINT_WHY_SIZE]; /* one sentence, without a full stop */
    char line[224]; /* XML to add or change; "" if the remedy is elsewhere, and why says where */
};

/* More than there are rules. */
#define TH_LINT_MAX_FINDINGS 64

/* Fills findings, the most severe ones first, else in a fixed order. Returns how many. Pure. */
size_t th_lint_find(const struct th_guest_facts *facts,
                    struct th_lint_finding findings[TH_LINT_MAX_FINDINGS]);
/* The id of the nth rule, NULL beyond the last: all ids there are. */
const char *th_lint_rule_id(size_t index);
/* Whether a finding is about what a migration does to the guest's time, or about the handoff after
 * it: what the dry run shows. */
bool th_lint_is_about_migration(const char *id);
/* The clock that the guest has from its hypervisor: "kvmclock", "Hyper-V reference time", …. Never
 * NULL. */
const char *th_lint_guest_clock(const struct th_guest_facts *facts);

/* ---- report ---- */

/* One paragraph a finding, then a line that counts them. */
void th_report_lint_text(const struct th_guest_facts *facts, const struct th_lint_finding *findings,
                         size_t n, FILE *out);
/* One JSON document and a newline. 0 or negative errno. */
int th_report_lint_json(const struct th_guest_facts *facts, const struct th_lint_finding *findings,
                        size_t n, FILE *out);

#endif
