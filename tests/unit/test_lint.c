/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lint: domains as virt-install, Nova, oVirt and KubeVirt write them have neither errors nor
 * warnings, each rule finds the fault that is planted in one of them, and damaged XML does no harm.
 * Then the DHCP settings in a network's XML: at their place, once, and no other byte changed.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lint/dhcp.h"
#include "seeded.h"
#include "timehandoff/lint.h"

#define FOLDER TH_TESTS_FOLDER "/data/domains"
#define MAX_CORPUS 32

/* ---- the corpus ---- */

static struct {
    char name[64];
    char *xml;
} corpus[MAX_CORPUS];
static size_t n_corpus;

static char *read_file(const char *name) {
    char path[512], *text = calloc(1, 65536);
    FILE *file;

    snprintf(path, sizeof(path), FOLDER "/%s", name);
    file = fopen(path, "re");
    assert_non_null(file);
    assert_true(fread(text, 1, 65535, file) > 0);
    fclose(file);
    return text;
}

static int read_corpus(void **state) {
    DIR *folder = opendir(FOLDER);
    const struct dirent *entry;

    (void)state;
    assert_non_null(folder);
    while ((entry = readdir(folder))) {
        if (strstr(entry->d_name, ".xml")) {
            assert_true(n_corpus < MAX_CORPUS);
            assert_true(strlen(entry->d_name) < sizeof(corpus[0].name));
            strcpy(corpus[n_corpus].name, entry->d_name);
            corpus[n_corpus++].xml = read_file(entry->d_name);
        }
    }
    closedir(folder);
    assert_true(n_corpus >= 10);
    return 0;
}

static int free_corpus(void **state) {
    (void)state;
    while (n_corpus > 0) {
        free(corpus[--n_corpus].xml);
    }
    return 0;
}

static const char *domain_named(const char *name) {
    for (size_t i = 0; i < n_corpus; i++) {
        if (strcmp(corpus[i].name, name) == 0) {
            return corpus[i].xml;
        }
    }
    fail_msg("no %s in the corpus", name);
    return NULL;
}

/* ---- helpers ---- */

struct result {
    struct th_guest_facts facts;
    struct th_lint_finding findings[TH_LINT_MAX_FINDINGS];
    size_t n;
};

static struct result lint(const char *xml) {
    struct result result;
    char error[160] = "";

    if (th_guest_facts_read(xml, strlen(xml), &result.facts, error, sizeof(error)) < 0) {
        fail_msg("refused: %s", error);
    }
    result.n = th_lint_find(&result.facts, result.findings);
    return result;
}

static const struct th_lint_finding *find(const struct result *result, const char *id) {
    for (size_t i = 0; i < result->n; i++) {
        if (strcmp(result->findings[i].id, id) == 0) {
            return &result->findings[i];
        }
    }
    return NULL;
}

/* xml with the first occurrence of a text replaced. Caller frees. */
static char *replaced(const char *xml, const char *from, const char *to) {
    const char *at = strstr(xml, from);
    char *text = calloc(1, strlen(xml) + strlen(to) + 1);

    if (!at) {
        fail_msg("'%s' is not in the domain", from);
    }
    memcpy(text, xml, (size_t)(at - xml));
    strcat(text, to);
    strcat(text, at + strlen(from));
    return text;
}

/* ---- the corpus is clean ---- */

static void y_corpus_has_hints_at_most(void **state) {
    (void)state;
    for (size_t i = 0; i < n_corpus; i++) {
        struct result result = lint(corpus[i].xml);

        if (result.n > 0 && result.findings[0].severity != TH_LINT_HINT) {
            fail_msg("%s: %s", corpus[i].name, result.findings[0].id);
        }
    }
}

static void y_systems(void **state) {
    static const struct {
        const char *file, *os, *arch, *name;
    } cases[] = {
        {"linux-virt-install.xml", "Linux", "x86", "web1"},
        {"windows-virt-install.xml", "Windows", "x86", "win11"},
        {"freebsd-virt-install.xml", "BSD", "x86", "bsd1"},
        {"linux-arm64.xml", "Linux", "arm64", "arm1"},
        {"linux-nova.xml", "unknown", "x86", "instance-0000002a"},
        {"windows-nova.xml", "Windows", "x86", "instance-0000002b"},
        {"windows-ovirt.xml", "Windows", "x86", "fs1"},
        {"linux-kubevirt.xml", "unknown", "x86", "default_vm1"},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        struct result result = lint(domain_named(cases[i].file));

        assert_string_equal(th_guest_os_name(result.facts.os), cases[i].os);
        assert_string_equal(th_guest_arch_name(result.facts.arch), cases[i].arch);
        assert_string_equal(result.facts.name, cases[i].name);
    }
}

static void y_other_systems(void **state) {
    static const struct {
        const char *id;
        enum th_guest_os os;
    } cases[] = {
        {"http://openbsd.org/openbsd/7.4", TH_GUEST_OS_BSD},
        {"http://oracle.com/ol/9.0", TH_GUEST_OS_LINUX},
        {"http://oracle.com/solaris/11", TH_GUEST_OS_OTHER},
        {"http://libosinfo.org/linux/2022", TH_GUEST_OS_LINUX},
        {"http://libosinfo.org/unknown", TH_GUEST_OS_UNKNOWN},
        {"http://apple.com/macosx/10.7", TH_GUEST_OS_OTHER},
        {"debian12", TH_GUEST_OS_UNKNOWN},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        char *xml = replaced(domain_named("linux-virt-install.xml"), "http://debian.org/debian/12",
                             cases[i].id);

        assert_int_equal(lint(xml).facts.os, cases[i].os);
        free(xml);
    }
}

static void y_machine_versions(void **state) {
    static const struct {
        const char *machine;
        unsigned major, minor;
    } cases[] = {
        {"pc-q35-7.2", 7, 2},
        {"pc-i440fx-10.1", 10, 1},
        {"virt-9.0", 9, 0},
        {"pc-q35-rhel9.4.0", 0, 0},
        {"q35", 0, 0},
        {"pc-i440fx-jammy", 0, 0},
        {"pc-q35-7.2.1", 0, 0},
        {"pc-q35-", 0, 0},
        {"pc-q35-99999999999.1", 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        char *xml =
            replaced(domain_named("linux-virt-install.xml"), "pc-q35-7.2", cases[i].machine);
        struct result result = lint(xml);

        assert_int_equal(result.facts.machine_major, cases[i].major);
        assert_int_equal(result.facts.machine_minor, cases[i].minor);
        free(xml);
    }
}

/* ---- planted faults ---- */

#define LINUX "linux-virt-install.xml"
#define WINDOWS "windows-virt-install.xml"
#define BSD "freebsd-virt-install.xml"
#define ARM "linux-arm64.xml"
#define POLICY "linux-policy.xml"
#define AGENT "name=\"org.qemu.guest_agent.0\""
#define PIT "<timer name=\"pit\" tickpolicy=\"delay\"/>"
#define RTC "<timer name=\"rtc\" tickpolicy=\"catchup\"/>"

static const struct plant {
    const char *file, *from, *to;
    const char *id;
    enum th_lint_severity severity;
    const char *said; /* in why; NULL: whatever */
} plants[] = {
    {LINUX, AGENT, "name='org.example.other'", "agent-missing", TH_LINT_ERROR, NULL},
    {LINUX, AGENT, "name='org.qemu.guest_agent.1'", "agent-channel-name", TH_LINT_ERROR,
     "'org.qemu.guest_agent.1'"},
    {LINUX, AGENT, "name='org.qemu.guest_agent'", "agent-channel-name", TH_LINT_ERROR, NULL},
    {LINUX, "<channel type=\"unix\">", "<channel type='pty'>", "agent-channel-type", TH_LINT_ERROR,
     "'pty'"},
    {LINUX, "<target type=\"virtio\" " AGENT, "<target type='xen' " AGENT, "agent-channel-type",
     TH_LINT_ERROR, "'xen'"},
    {LINUX, "mode=\"bind\"", "mode='connect'", "agent-channel-mode", TH_LINT_ERROR, NULL},
    {LINUX, RTC, "<timer name='rtc' track='guest'/>", "rtc-track-guest", TH_LINT_ERROR, NULL},
    {LINUX, "offset=\"utc\"", "offset='localtime'", "rtc-localtime", TH_LINT_WARNING, NULL},
    {LINUX, "offset=\"utc\"", "offset='timezone' timezone='Europe/Berlin'", "rtc-localtime",
     TH_LINT_WARNING, NULL},
    {LINUX, "offset=\"utc\"", "offset='variable' basis='localtime' adjustment='0'", "rtc-localtime",
     TH_LINT_WARNING, NULL},
    {BSD, "offset='utc'", "offset='localtime'", "rtc-localtime", TH_LINT_WARNING, NULL},
    {WINDOWS, "offset=\"localtime\"", "offset='utc'", "rtc-utc-windows", TH_LINT_WARNING, NULL},
    {WINDOWS, "offset=\"localtime\"", "", "rtc-utc-windows", TH_LINT_WARNING, NULL},
    {LINUX, "offset=\"utc\"", "offset='absolute' start='0'", "clock-absolute", TH_LINT_ERROR, NULL},
    {LINUX, "offset=\"utc\"", "offset='variable' adjustment='-7200'", "clock-variable",
     TH_LINT_HINT, "-7200 s"},
    {"linux-ovirt.xml", "db1", "db2", "clock-variable", TH_LINT_HINT, NULL},
    {WINDOWS, RTC, "<timer name='rtc' tickpolicy='delay'/>", "rtc-tickpolicy", TH_LINT_HINT, NULL},
    {LINUX, "</domain>",
     "<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:arg value='-rtc'/>"
     "<q:arg value='base=utc'/></q:commandline></domain>",
     "qemu-rtc-argument", TH_LINT_WARNING, NULL},
    {LINUX, PIT, "<timer name='pit' tickpolicy='catchup'/>", "pit-catchup", TH_LINT_WARNING, NULL},
    {LINUX, PIT, "", "pit-tickpolicy", TH_LINT_HINT, NULL},
    {LINUX, PIT, "<timer name='pit' tickpolicy='merge'/>", "timer-unsupported", TH_LINT_ERROR,
     "tick policy of pit"},
    {LINUX, RTC, "<timer name='rtc' tickpolicy='discard'/>", "timer-unsupported", TH_LINT_ERROR,
     "tick policy of rtc"},
    {LINUX, RTC, "<timer name='rtc' track='boot'/>", "timer-unsupported", TH_LINT_ERROR,
     "track of rtc"},
    {LINUX, RTC, "<timer name='platform'/>", "timer-unsupported", TH_LINT_ERROR, "platform"},
    {LINUX, RTC, "<timer name='armvtimer' tickpolicy='discard'/>", "timer-unsupported",
     TH_LINT_ERROR, "armvtimer"},
    {ARM, "<clock offset='utc'/>",
     "<clock offset='utc'><timer name='armvtimer' tickpolicy='merge'/></clock>",
     "timer-unsupported", TH_LINT_ERROR, "tick policy of armvtimer"},
    {ARM, "<clock offset='utc'/>",
     "<clock offset='utc'><timer name='kvmclock' present='yes'/></clock>", "timer-unsupported",
     TH_LINT_ERROR, "kvmclock"},
    {ARM, "<clock offset='utc'/>",
     "<clock offset='utc'><timer name='hypervclock' present='yes'/></clock>", "timer-unsupported",
     TH_LINT_ERROR, "hypervclock"},
    {ARM, "<clock offset='utc'/>", "<clock offset='utc'><timer name='hpet' present='yes'/></clock>",
     "timer-unsupported", TH_LINT_ERROR, "hpet"},
    {LINUX, "<domain type=\"kvm\">", "<domain type='qemu'>", "kvm-missing", TH_LINT_HINT, NULL},
    {LINUX, PIT, "<timer name='kvmclock' present='no'/>", "kvmclock-disabled", TH_LINT_WARNING,
     NULL},
    {BSD, "<timer name='hpet' present='no'/>", "<timer name='kvmclock' present='no'/>",
     "kvmclock-disabled", TH_LINT_WARNING, NULL},
    {LINUX, "<acpi/>", "<acpi/><kvm><hidden state='on'/></kvm>", "kvm-hidden", TH_LINT_WARNING,
     NULL},
    {WINDOWS, "<timer name=\"hypervclock\" present=\"yes\"/>", "", "hypervclock-missing",
     TH_LINT_WARNING, NULL},
    {WINDOWS, "<timer name=\"hypervclock\" present=\"yes\"/>",
     "<timer name='hypervclock' present='no'/>", "hypervclock-missing", TH_LINT_WARNING, NULL},
    {"windows-nova.xml", "name='hypervclock' present='yes'", "name='hypervclock' present='no'",
     "hypervclock-missing", TH_LINT_WARNING, NULL},
    {WINDOWS, "<relaxed state=\"on\"/>", "<relaxed state='off'/>", "hyperv-relaxed", TH_LINT_HINT,
     NULL},
    {WINDOWS, "<stimer state=\"on\">", "<stimer state='off'>", "hyperv-stimer", TH_LINT_HINT, NULL},
    {WINDOWS, "<synic state=\"on\"/>", "", "hyperv-stimer-incomplete", TH_LINT_ERROR, NULL},
    {WINDOWS, "<vpindex state=\"on\"/>", "", "hyperv-stimer-incomplete", TH_LINT_ERROR, NULL},
    {WINDOWS, "mode=\"custom\"", "mode='passthrough'", "hyperv-passthrough", TH_LINT_WARNING, NULL},
    {ARM, "<clock offset='utc'/>",
     "<clock offset='utc'><timer name='armvtimer' tickpolicy='delay'/></clock>", "armvtimer-delay",
     TH_LINT_HINT, NULL},
    {LINUX, "web1", "web2", "ptp-kvm-possible", TH_LINT_HINT, NULL},
    {ARM, "arm1", "arm2", "ptp-kvm-possible", TH_LINT_HINT, NULL},
    {POLICY, "pay1", "pay2", "vmclock-possible", TH_LINT_HINT, NULL},
    {LINUX, PIT, "<timer name='tsc' mode='paravirt'/>", "tsc-mode", TH_LINT_WARNING,
     "mode='paravirt'"},
    {LINUX, PIT, "<timer name='tsc' frequency='3504000000'/>", "tsc-frequency", TH_LINT_WARNING,
     "3504000000 Hz"},
    {"linux-kubevirt.xml", "default_vm1", "vm2", "tsc-frequency-hosts", TH_LINT_HINT,
     "2399997000 Hz"},
    {"linux-kubevirt.xml", "<timer name=\"tsc\" frequency=\"2399997000\"/>", "", "invtsc-unpinned",
     TH_LINT_ERROR, NULL},
    {LINUX, "migratable=\"on\"", "migratable='off'", "cpu-migratable-off", TH_LINT_ERROR, NULL},
    {LINUX, "<suspend-to-mem enabled=\"no\"/>", "<suspend-to-mem enabled='yes'/>", "suspend-to-mem",
     TH_LINT_HINT, NULL},
    {LINUX, "<suspend-to-disk enabled=\"no\"/>", "<suspend-to-disk enabled='yes'/>",
     "suspend-to-disk", TH_LINT_HINT, NULL},
    {POLICY, "warn=\"1ms\"", "warn='1'", "policy-broken", TH_LINT_ERROR, "warn is not"},
    {POLICY, "warn=\"1ms\"", "warn='9ms'", "policy-broken", TH_LINT_ERROR, "greater than block"},
    {POLICY, "<th:policy", "<th:policy xmlns:th='urn:timehandoff:1' block='1s'/><th:policy",
     "policy-broken", TH_LINT_ERROR, "there are 2"},
    {POLICY, "warn=\"1ms\"", "wran='1ms'", "metadata-ignored", TH_LINT_WARNING, "'wran'"},
    {POLICY, "key-id=\"3735928559\"", "key-id='1'", "metadata-ignored", TH_LINT_WARNING, "origin"},
    {POLICY, "warn=\"1ms\"", "handoff='report'", "policy-contradiction", TH_LINT_WARNING,
     "'report'"},
    {POLICY, "warn=\"1ms\"", "handoff='off'", "policy-contradiction", TH_LINT_WARNING, "'off'"},
    {POLICY, "warn=\"1ms\"", "warn='1us'", "policy-too-fine", TH_LINT_WARNING, NULL},
};

static void y_planted_faults_are_found(void **state) {
    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(plants); i++) {
        char *xml = replaced(domain_named(plants[i].file), plants[i].from, plants[i].to);
        struct result result = lint(xml);
        const struct th_lint_finding *finding = find(&result, plants[i].id);

        if (!finding) {
            fail_msg("%s with '%s': no %s", plants[i].file, plants[i].to, plants[i].id);
        }
        assert_int_equal(finding->severity, plants[i].severity);
        assert_true(finding->why[0] != '\0');
        if (plants[i].said && !strstr(finding->why, plants[i].said)) {
            fail_msg("%s: '%s' is not in: %s", plants[i].id, plants[i].said, finding->why);
        }
        free(xml);
    }
}

static void y_every_rule_has_a_planted_fault(void **state) {
    (void)state;
    assert_non_null(th_lint_rule_id(0));
    for (size_t i = 0; th_lint_rule_id(i); i++) {
        bool found = false;

        for (size_t k = 0; k < TH_ELEMENTS(plants); k++) {
            found |= strcmp(plants[k].id, th_lint_rule_id(i)) == 0;
        }
        if (!found) {
            fail_msg("nothing is planted for %s", th_lint_rule_id(i));
        }
        assert_true(i < TH_LINT_MAX_FINDINGS);
    }
}

/* What looks like a fault and is none. */
static void n_no_fault(void **state) {
    static const struct {
        const char *file, *from, *to, *id;
    } cases[] = {
        {WINDOWS, "<acpi/>", "<acpi/><kvm><hidden state='on'/></kvm>", "kvm-hidden"},
        {WINDOWS, PIT, "<timer name='kvmclock' present='no'/>", "kvmclock-disabled"},
        {LINUX, "<domain type=\"kvm\">", "<domain type='qemu'>", "ptp-kvm-possible"},
        {LINUX, "<acpi/>", "<acpi/><kvm><hidden state='on'/></kvm>", "ptp-kvm-possible"},
        {BSD, "bsd1", "bsd2", "ptp-kvm-possible"},
        {WINDOWS, "win11", "win12", "ptp-kvm-possible"},
        {BSD, "bsd1", "bsd2", "vmclock-possible"},
        {LINUX, "web1", "web2", "vmclock-possible"},
        {ARM, "arm1", "arm2", "pit-tickpolicy"},
        {POLICY, "</domain>",
         "<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:arg "
         "value='-device'"
         "/><q:arg value='vmclock,id=x'/></q:commandline></domain>",
         "vmclock-possible"},
        {LINUX, PIT, "<timer name='pit' present='no'/>", "pit-tickpolicy"},
        {"windows-ovirt.xml", "fs1", "fs2", "clock-variable"},
        {LINUX, "<source mode=\"bind\"/>", "", "agent-channel-mode"},
        {LINUX, "name=\"com.redhat.spice.0\"", "name='org.qemu.guest_agent.1'",
         "agent-channel-name"},
        {LINUX, "migratable=\"on\"", "", "cpu-migratable-off"},
        {LINUX, PIT, "<x><timer name='kvmclock' present='no'/></x>", "kvmclock-disabled"},
        {LINUX, "<vmport", "<x:kvm xmlns:x='urn:x'><hidden state='on'/></x:kvm><vmport",
         "kvm-hidden"},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        char *xml = replaced(domain_named(cases[i].file), cases[i].from, cases[i].to);
        struct result result = lint(xml);

        if (find(&result, cases[i].id)) {
            fail_msg("%s with '%s' has no %s", cases[i].file, cases[i].to, cases[i].id);
        }
        free(xml);
    }
}

static void y_no_agent_is_wanted_without_handoff(void **state) {
    char *off = replaced(domain_named(POLICY), "warn=\"1ms\"", "handoff='off'");
    char *xml = replaced(off, "org.qemu.guest_agent.0", "other");
    struct result result = lint(xml);

    (void)state;
    assert_null(find(&result, "agent-missing"));
    free(xml);
    free(off);
}

static void y_most_severe_first(void **state) {
    char *xml = replaced(domain_named(LINUX), AGENT, "name='x'");
    char *worse = replaced(xml, "offset=\"utc\"", "offset='localtime'");
    struct result result = lint(worse);

    (void)state;
    assert_int_equal(result.n, 3);
    assert_string_equal(result.findings[0].id, "agent-missing");
    assert_string_equal(result.findings[1].id, "rtc-localtime");
    assert_string_equal(result.findings[2].id, "ptp-kvm-possible");
    assert_non_null(strstr(result.findings[0].line, "org.qemu.guest_agent.0"));
    free(worse);
    free(xml);
}

static void n_documents(void **state) {
    static const char *const cases[] = {
        "",
        "<domain/>",
        "<domain type='lxc'><name>c</name></domain>",
        "<domain type='xen'/>",
        "<network/>",
        "<domain type='kvm'>",
        "<!DOCTYPE domain [<!ENTITY a 'b'>]><domain type='kvm'>&a;</domain>",
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        struct th_guest_facts facts, before;
        char error[160] = "";

        memset(&facts, 0x5a, sizeof(facts));
        before = facts;
        assert_int_equal(
            th_guest_facts_read(cases[i], strlen(cases[i]), &facts, error, sizeof(error)),
            -EBADMSG);
        assert_true(error[0] != '\0');
        assert_memory_equal(&facts, &before, sizeof(facts));
    }
}

/* What the XML names is quoted, but never a control character or broken UTF-8. */
static void y_quotes_are_clean(void **state) {
    char *xml = replaced(domain_named(LINUX), AGENT, "name='qemu guest&#10;&#127;&#9;'");
    struct result result = lint(xml);
    const struct th_lint_finding *finding = find(&result, "agent-channel-name");

    (void)state;
    assert_non_null(finding);
    for (const char *c = finding->why; *c; c++) {
        assert_true((unsigned char)*c >= ' ' && *c != 127);
    }
    free(xml);
}

/* Line breaks and terminal controls, as XML may have them in any value. */
static void y_quoted_values_are_clean(void **state) {
    static const char *const cases[][2] = {
        {"clock-variable", "<clock offset='variable' adjustment='1&#10;&#155;31m'/>"},
        {"tsc-mode", "<clock offset='utc'><timer name='tsc' mode='&#10;&#155;31m'/></clock>"},
        {"tsc-frequency", "<clock><timer name='tsc' frequency='&#10;&#155;31m'/></clock>"},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        char xml[512], clean[TH_LINT_WHY_SIZE];
        const struct th_lint_finding *finding;
        struct result result;

        snprintf(xml, sizeof(xml), "<domain type='kvm'><os><type arch='x86_64'/></os>%s</domain>",
                 cases[i][1]);
        result = lint(xml);
        finding = find(&result, cases[i][0]);
        assert_non_null(finding);
        assert_string_equal(th_text_clean(finding->why, clean, sizeof(clean)), finding->why);
        assert_non_null(strstr(finding->why, "??31m"));
    }
}

/* All that QEMU wants is in the line, wherever in the XML it belongs. */
static void y_a_remedy_is_whole(void **state) {
    char *xml = replaced(domain_named(WINDOWS), "name=\"hypervclock\" present=\"yes\"",
                         "name='hypervclock' present='no'");
    struct result result = lint(xml);
    const struct th_lint_finding *finding = find(&result, "hyperv-stimer-incomplete");

    (void)state;
    assert_non_null(finding);
    assert_non_null(strstr(finding->line, "<vpindex state='on'/><synic state='on'/>"));
    assert_non_null(strstr(finding->line, "<timer name='hypervclock' present='yes'/>"));
    free(xml);
}

/* ---- damage ---- */

static size_t damage(struct seeded *seeded, char *text, size_t size) {
    static const char likely[] = "<>/='\"& \n\0xa0-:";
    int64_t changes = seeded_between(seeded, 1, 6);

    while (changes-- > 0 && size > 1) {
        size_t at = (size_t)seeded_between(seeded, 0, (int64_t)size - 1);
        size_t length = (size_t)seeded_between(seeded, 1, 40);
        size_t from = (size_t)seeded_between(seeded, 0, (int64_t)size - 1);

        switch (seeded_between(seeded, 0, 3)) {
        case 0: text[at] = likely[seeded_between(seeded, 0, sizeof(likely) - 1)]; break;
        case 1: text[at] = (char)seeded_bits(seeded); break;
        case 2: /* bytes go */
            length = length < size - at ? length : size - at;
            memmove(text + at, text + at + length, size - at - length);
            size -= length;
            break;
        default: /* bytes are copied elsewhere */
            length = length < size - at ? length : size - at;
            length = length < size - from ? length : size - from;
            memmove(text + at, text + from, length);
        }
    }
    return size;
}

static void random_damage(void **state) {
    struct seeded seeded = seeded_start("random_damage");
    unsigned accepted = 0;
    int cases = seeded_cases(100000);

    (void)state;
    for (int i = 0; i < cases; i++) {
        const char *xml = corpus[seeded_between(&seeded, 0, (int64_t)n_corpus - 1)].xml;
        size_t size = strlen(xml);
        struct th_lint_finding findings[TH_LINT_MAX_FINDINGS];
        struct th_guest_facts facts;
        char error[160] = "";
        char *copy = malloc(size);
        int r;

        memcpy(copy, xml, size);
        size = damage(&seeded, copy, size);
        copy = realloc(copy, size ? size : 1);
        r = th_guest_facts_read(copy, size, &facts, error, sizeof(error));
        assert_true(r == 0 || error[0] != '\0');
        if (r == 0) {
            size_t n = th_lint_find(&facts, findings);

            accepted++;
            for (size_t k = 0; k < n; k++) {
                assert_true(memchr(findings[k].why, '\0', sizeof(findings[k].why)) &&
                            findings[k].why[0]);
            }
        }
        free(copy);
    }
    assert_true(accepted > (unsigned)cases / 100 && accepted < (unsigned)cases);
}

/* ---- DHCP options ---- */

static void y_option4(void **state) {
    struct in_addr addresses[64];
    char option[TH_DHCP_OPTION_SIZE];

    (void)state;
    for (unsigned i = 0; i < 64; i++) {
        addresses[i].s_addr = htonl(0xc0a8c800u + 200 + i % 50);
    }
    assert_int_equal(th_dhcp_option4(addresses, 0, option), 0);
    assert_string_equal(option, "");
    assert_int_equal(th_dhcp_option4(addresses, 2, option), 2);
    assert_string_equal(option, "dhcp-option=option:ntp-server,192.168.200.200,192.168.200.201");
    assert_int_equal(th_dhcp_option4(addresses, 64, option), 58);
    assert_true(strlen(option) < TH_DHCP_OPTION_SIZE);
    assert_string_equal(option + strlen(option) - 16, ",192.168.200.207");
}

static void y_option6(void **state) {
    static const char *const both[] = {"ntp1.example.", "fd00::1"};
    static const char *const addresses[] = {"fd00::1", "fd00::2"};
    static const char *const host_names[] = {"ntp1.example", "ntp2.example"};
    char option[TH_DHCP_OPTION_SIZE];

    (void)state;
    assert_int_equal(th_dhcp_option6(NULL, 0, option), 0);
    assert_string_equal(option, "");
    assert_int_equal(th_dhcp_option6(addresses, 2, option), 2);
    assert_string_equal(option, "dhcp-option=option6:ntp-server,[fd00::1],[fd00::2]");
    assert_int_equal(th_dhcp_option6(host_names, 2, option), 2);
    assert_string_equal(option, "dhcp-option=option6:ntp-server,ntp1.example,ntp2.example");
    /* Suboption 3 with the name, then suboption 1 with the address (RFC 5908). */
    assert_int_equal(th_dhcp_option6(both, 2, option), 2);
    assert_string_equal(option, "dhcp-option=option6:56,"
                                "00:03:00:0e:04:6e:74:70:31:07:65:78:61:6d:70:6c:65:00:"
                                "00:01:00:10:fd:00:00:00:00:00:00:00:00:00:00:00:00:00:00:01");
}

static void y_option6_has_room_for_some(void **state) {
    static const char longest[] =
        "a23456789012345678901234567890123456789012345678901234567890123."
        "b23456789012345678901234567"
        "890123456789012345678901234567890123."
        "c23456789012345678901234567890123456789012345678901234"
        "567890123.d2345678901234567890123456789012345678901234567890123456789";
    const char *const list[] = {longest, longest, longest, longest};
    const char *const mixed[] = {longest, "fd00::1", longest};
    char option[TH_DHCP_OPTION_SIZE];

    (void)state;
    assert_int_equal(strlen(longest), 251);
    assert_int_equal(th_dhcp_option6(list, 4, option), 3);
    assert_int_equal(th_dhcp_option6(mixed, 3, option), 2);
}

/* ---- a network's XML ---- */

#define O4 "dhcp-option=option:ntp-server,10.0.0.1"
#define O6 "dhcp-option=option6:ntp-server,[fd00::1]"
#define NS " xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'"
#define IP4 "  <ip address='10.0.0.1' netmask='255.255.255.0'>\n    <dhcp/>\n  </ip>\n"
#define IP6 "  <ip family='ipv6' address='fd00::1' prefix='64'>\n    <dhcp/>\n  </ip>\n"

static char *must_update(const char *xml, const char *option4, const char *option6) {
    struct th_dhcp_network network;
    char error[160] = "", *updated = NULL;

    if (th_dhcp_network_update(xml, strlen(xml), option4, option6, &network, &updated, error,
                               sizeof(error)) < 0) {
        fail_msg("refused: %s", error);
    }
    return updated;
}

static void y_networks(void **state) {
    static const struct {
        const char *before, *after;
    } cases[] = {
        /* none there yet */
        {"<network>\n  <name>a</name>\n" IP4 "</network>\n",
         "<network>\n  <name>a</name>\n" IP4 "  <dnsmasq:options" NS ">\n"
         "    <dnsmasq:option value='" O4 "'/>\n  </dnsmasq:options>\n</network>\n"},
        {"<network>\n" IP4 IP6 "</network>",
         "<network>\n" IP4 IP6 "  <dnsmasq:options" NS ">\n"
         "    <dnsmasq:option value='" O4 "'/>\n    <dnsmasq:option value='" O6 "'/>\n"
         "  </dnsmasq:options>\n</network>"},
        /* no DHCP: nothing */
        {"<network>\n  <name>a</name>\n</network>\n", "<network>\n  <name>a</name>\n</network>\n"},
        /* on one line */
        {"<network><ip><dhcp/></ip></network>",
         "<network><ip><dhcp/></ip><dnsmasq:options" NS "><dnsmasq:option value='" O4
         "'/></dnsmasq:options></network>"},
        /* others there; an earlier one goes, whichever way it is written */
        {"<network" NS ">\n" IP4 "  <dnsmasq:options>\n"
         "    <dnsmasq:option value='dhcp-option=42,1.2.3.4'/>\n"
         "    <dnsmasq:option value=\"log-dhcp\"/> <!-- 42 -->\n"
         "    <dnsmasq:option value='dhcp-option-force=option:ntp-server,0.0.0.0'/>\n"
         "  </dnsmasq:options>\n</network>\n",
         "<network" NS ">\n" IP4 "  <dnsmasq:options>\n"
         "    <dnsmasq:option value=\"log-dhcp\"/> <!-- 42 -->\n"
         "    <dnsmasq:option value='" O4 "'/>\n"
         "  </dnsmasq:options>\n</network>\n"},
        /* one that stays on the line of one that goes */
        {"<network" NS ">\n" IP4 "  <dnsmasq:options>\n"
         "    <dnsmasq:option value='dhcp-option=42,1.2.3.4'/>  <dnsmasq:option value='a'/>\n"
         "  </dnsmasq:options>\n</network>\n",
         "<network" NS ">\n" IP4 "  <dnsmasq:options>  <dnsmasq:option value='a'/>"
         "<dnsmasq:option value='" O4 "'/>\n"
         "  </dnsmasq:options>\n</network>\n"},
        /* those for tagged guests, and other options, stay */
        {"<network" NS ">\n" IP4 "  <dnsmasq:options>\n"
         "    <dnsmasq:option value='dhcp-option=tag:old,42,1.2.3.4'/>\n"
         "    <dnsmasq:option value='dhcp-option=421,1'/>\n"
         "    <dnsmasq:option value='dhcp-option=option6:56,00'/>\n"
         "  </dnsmasq:options>\n</network>\n",
         "<network" NS ">\n" IP4 "  <dnsmasq:options>\n"
         "    <dnsmasq:option value='dhcp-option=tag:old,42,1.2.3.4'/>\n"
         "    <dnsmasq:option value='dhcp-option=421,1'/>\n"
         "    <dnsmasq:option value='dhcp-option=option6:56,00'/>\n"
         "    <dnsmasq:option value='" O4 "'/>\n"
         "  </dnsmasq:options>\n</network>\n"},
        /* options before the addresses; another prefix; empty */
        {"<network xmlns:d='http://libvirt.org/schemas/network/dnsmasq/1.0'>\n\t<d:options/>\n" IP6
         "</network>",
         "<network xmlns:d='http://libvirt.org/schemas/network/dnsmasq/1.0'>\n\t<d:options>\n"
         "\t  <d:option value='" O6 "'/>\n\t</d:options>\n" IP6 "</network>"},
        {"<network>\n<options "
         "xmlns='http://libvirt.org/schemas/network/dnsmasq/1.0'>\n</options>\n" IP4 "</network>",
         "<network>\n<options xmlns='http://libvirt.org/schemas/network/dnsmasq/1.0'>\n"
         "  <option value='" O4 "'/>\n</options>\n" IP4 "</network>"},
        /* look-alikes */
        {"<?xml version='1.0'?>\n<!-- </network> <dnsmasq:options> -->\n<network>\n"
         "  <options><option value='dhcp-option=42,9.9.9.9'/></options>\n"
         "  <name><![CDATA[</network>]]></name>\n  <portgroup a='>' b=\"&lt;/network>\"/>\n" IP4
         "</network>\n<!-- end -->\n",
         "<?xml version='1.0'?>\n<!-- </network> <dnsmasq:options> -->\n<network>\n"
         "  <options><option value='dhcp-option=42,9.9.9.9'/></options>\n"
         "  <name><![CDATA[</network>]]></name>\n  <portgroup a='>' b=\"&lt;/network>\"/>\n" IP4
         "  <dnsmasq:options" NS ">\n    <dnsmasq:option value='" O4 "'/>\n"
         "  </dnsmasq:options>\n</network>\n<!-- end -->\n"},
        /* line ends of another system */
        {"<network>\r\n  <ip>\r\n<dhcp/></ip>\r\n</network>\r\n",
         "<network>\r\n  <ip>\r\n<dhcp/></ip>\r\n  <dnsmasq:options" NS ">\r\n"
         "    <dnsmasq:option value='" O4 "'/>\r\n  </dnsmasq:options>\r\n</network>\r\n"},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        char *once = must_update(cases[i].before, O4, O6);
        char *twice = must_update(once, O4, O6);

        assert_string_equal(once, cases[i].after);
        assert_string_equal(twice, once);
        free(twice);
        free(once);
    }
}

static void y_no_server_for_one_kind(void **state) {
    static const char xml[] =
        "<network>\n" IP4 IP6 "  <dnsmasq:options" NS ">\n"
        "    <dnsmasq:option value='" O6 "'/>\n  </dnsmasq:options>\n</network>";
    char *updated = must_update(xml, O4, "");

    (void)state;
    assert_non_null(strstr(updated, O4));
    assert_non_null(strstr(updated, O6)); /* what was there is not taken away for nothing */
    free(updated);
}

static void y_network_facts(void **state) {
    static const char xml[] =
        "<network" NS "><ip family='ipv6'><dhcp/></ip><ip><tftp/></ip><dnsmasq:options>"
        "<dnsmasq:option value='dhcp-option=tag:a,tag:b,option6:ntp-server,[::]'/>"
        "</dnsmasq:options></network>";
    struct th_dhcp_network network;
    char error[160], *updated = NULL;

    (void)state;
    assert_int_equal(
        th_dhcp_network_update(xml, strlen(xml), O4, O6, &network, &updated, error, sizeof(error)),
        0);
    assert_true(network.serves6 && network.has_tagged && !network.serves4);
    assert_null(strstr(updated, O4));
    free(updated);
}

static void n_networks(void **state) {
    static const char *const cases[] = {
        "",
        "<network/>",
        "<domain type='kvm'/>",
        "<n:network xmlns:n='urn:n'></n:network>",
        "<network><ip></network>",
        "<!DOCTYPE network><network></network>",
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        struct th_dhcp_network network;
        char error[160] = "", *updated = NULL;

        assert_int_equal(th_dhcp_network_update(cases[i], strlen(cases[i]), O4, O6, &network,
                                                &updated, error, sizeof(error)),
                         -EBADMSG);
        assert_true(error[0] != '\0');
        assert_null(updated);
    }
}

/* Whatever is taken, its result is taken again and is then the same. */
static void random_network_damage(void **state) {
    static const char xml[] =
        "<?xml version='1.0'?>\n<network connections='1'" NS ">\n  <name>default</name>\n"
        "  <!-- a -->\n  <forward mode='nat'/>\n" IP4 IP6 "  <dnsmasq:options>\n"
        "    <dnsmasq:option value='dhcp-option=42,1.2.3.4'/>\n"
        "    <dnsmasq:option value=\"log-dhcp\"/><![CDATA[ ]]>\n"
        "    <dnsmasq:option value='dhcp-option=tag:old,option6:56,00'/>\n"
        "    <dnsmasq:option value='dhcp-option=option6:56,00'/></dnsmasq:options>\n</network>\n";
    struct seeded seeded = seeded_start("random_network_damage");
    unsigned accepted = 0;
    int cases = seeded_cases(50000);

    (void)state;
    for (int i = 0; i < cases; i++) {
        struct th_dhcp_network network;
        char error[160] = "", *once = NULL, *copy = malloc(sizeof(xml));
        size_t size;
        int r;

        memcpy(copy, xml, sizeof(xml));
        size = damage(&seeded, copy, sizeof(xml) - 1);
        copy = realloc(copy, size ? size : 1);
        r = th_dhcp_network_update(copy, size, O4, O6, &network, &once, error, sizeof(error));
        assert_true(r == 0 || error[0] != '\0');
        if (r == 0) {
            char *twice = must_update(once, O4, O6);

            accepted++;
            assert_string_equal(twice, once);
            free(twice);
        }
        free(once);
        free(copy);
    }
    assert_true(accepted > (unsigned)cases / 100 && accepted < (unsigned)cases);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(y_corpus_has_hints_at_most),
        cmocka_unit_test(y_systems),
        cmocka_unit_test(y_other_systems),
        cmocka_unit_test(y_machine_versions),
        cmocka_unit_test(y_planted_faults_are_found),
        cmocka_unit_test(y_every_rule_has_a_planted_fault),
        cmocka_unit_test(n_no_fault),
        cmocka_unit_test(y_no_agent_is_wanted_without_handoff),
        cmocka_unit_test(y_most_severe_first),
        cmocka_unit_test(n_documents),
        cmocka_unit_test(y_quotes_are_clean),
        cmocka_unit_test(y_quoted_values_are_clean),
        cmocka_unit_test(y_a_remedy_is_whole),
        cmocka_unit_test(random_damage),
        cmocka_unit_test(y_option4),
        cmocka_unit_test(y_option6),
        cmocka_unit_test(y_option6_has_room_for_some),
        cmocka_unit_test(y_networks),
        cmocka_unit_test(y_no_server_for_one_kind),
        cmocka_unit_test(y_network_facts),
        cmocka_unit_test(n_networks),
        cmocka_unit_test(random_network_damage),
    };

    return cmocka_run_group_tests_name("lint", tests, read_corpus, free_corpus);
}
