package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// A walkthrough is a section of docs/operations.md whose commands are run against real processes.
// Lines of its console blocks that begin with "$ " are commands. What they print has to match the
// lines below them, apart from times, ports and other things that differ from run to run.
//
// The document has addresses that a test cannot have. They stand for those of the test, in commands
// and in what they print.
type walkthrough struct {
	*service
	steps []step
	next  int
	// addresses of the document and of the test, in this order.
	addresses [][2]string
}

// step is a command of a document.
type step struct {
	command string
	want    string
	// from and to are where the document has what the command prints.
	from, to int
	got      string
}

var consoleBlock = regexp.MustCompile("(?ms)^```console\n(.*?)^```$")

// documentedSteps returns the steps in part of a document, which begins at an offset.
func documentedSteps(document string, from, to int) (all []step) {
	for _, block := range consoleBlock.FindAllStringSubmatchIndex(document[from:to], -1) {
		at := from + block[2]
		for line := range strings.Lines(document[at : from+block[3]]) {
			end := at + len(line)
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				all = append(all, step{command: strings.TrimSpace(command), from: end, to: end})
			} else {
				last := &all[len(all)-1]
				last.to = end
				last.want += line
			}
			at = end
		}
	}
	return all
}

// newWalkthrough starts l4proxy for a section of a document.
func newWalkthrough(t *testing.T, steps []step, addresses [][2]string, yaml string, options ...func(*exec.Cmd)) *walkthrough {
	t.Helper()
	w := &walkthrough{steps: steps, addresses: addresses}
	w.service = newService(t, "workers: 1\nadmin: {bind: 'unix:$DIR/admin'}\ndrain: {timeout: 100ms}\n"+w.real(yaml), options...)
	w.addresses = append(w.addresses,
		[2]string{"10.0.0.1:5432", w.address("postgres")},
		[2]string{"/etc/l4proxy/l4proxy.yaml", w.config},
		[2]string{"/var/log/l4proxy.log", w.log},
		[2]string{"/usr/local/bin", w.dir})
	return w
}

// edit is configure with the addresses of the document.
func (w *walkthrough) edit(yaml string) {
	w.t.Helper()
	w.configure("workers: 1\nadmin: {bind: 'unix:$DIR/admin'}\ndrain: {timeout: 100ms}\n" + w.real(yaml))
}

// real puts in the addresses of the test.
func (w *walkthrough) real(text string) string {
	for _, a := range w.addresses {
		text = strings.ReplaceAll(text, a[0], a[1])
	}
	return text
}

// shown puts in the addresses of the document. The columns of a table stay where they are.
func (w *walkthrough) shown(text string) string {
	for _, a := range w.addresses {
		shown, real := a[0], a[1]
		padding := strings.Repeat(" ", max(len(real)-len(shown), 0))
		text = strings.ReplaceAll(text, real+"  ", shown+padding+"  ")
		text = strings.ReplaceAll(text, real, shown)
	}
	return text
}

// run runs the next command of the document.
func (w *walkthrough) run() { w.t.Helper(); w.await("") }

// await runs the next command of the document until it prints something that matches.
func (w *walkthrough) await(pattern string) {
	w.t.Helper()
	s := w.take()
	matches := regexp.MustCompile("(?m)" + pattern)
	if !testnet.Within(testnet.Patience, func() bool { s.got = w.output(s.command); return matches.MatchString(s.got) }) {
		w.t.Fatalf("%s does not print %s, but:\n%s\nlog:\n%s", s.command, pattern, s.got, w.logged())
	}
	w.compare(s)
}

// begin begins with the next command, and returns what waits for its end.
func (w *walkthrough) begin() (wait func()) {
	w.t.Helper()
	s := w.take()
	ended := make(chan string, 1)
	go func() { ended <- w.output(s.command) }()
	return func() {
		w.t.Helper()
		s.got = <-ended
		w.compare(s)
	}
}

// runIf is run if ok is set. Otherwise this machine does not allow the command, and the document
// stays as it is.
func (w *walkthrough) runIf(ok bool) {
	w.t.Helper()
	if ok {
		w.run()
		return
	}
	s := w.take()
	s.got = s.want
	w.t.Logf("not run, because this machine does not allow it: %s", s.command)
}

func (w *walkthrough) take() *step {
	w.t.Helper()
	if w.next == len(w.steps) {
		w.t.Fatal("the document has fewer commands")
	}
	w.next++
	return &w.steps[w.next-1]
}

// output is what a command prints.
func (w *walkthrough) output(command string) string {
	cmd := exec.Command("sh", "-c", w.real(command))
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "L4PROXY_ADMIN=unix:"+filepath.Join(w.dir, "admin"), "PID="+w.pidText(), "GORACE=atexit_sleep_ms=0")
	out, _ := cmd.CombinedOutput() // the document shows what a failed command prints
	return w.shown(string(out))
}

func (w *walkthrough) pidText() string {
	text, _ := os.ReadFile(w.pidFile())
	return strings.TrimSpace(string(text))
}

// compare compares what a command has printed with the document.
func (w *walkthrough) compare(s *step) {
	w.t.Helper()
	if *update {
		return
	}
	if diff := cmp.Diff(constant(s.want), constant(s.got)); diff != "" {
		w.t.Errorf("%s (-document +program; go test -run TestIncidents -update writes the document):\n%s", s.command, diff)
	}
}

// varying are things that differ from run to run.
var varying = []struct {
	pattern *regexp.Regexp
	name    string
}{
	{regexp.MustCompile(`the process (\d+) of \d+`), "in all $1 of <limit>"},
	{regexp.MustCompile(`(LimitNOFILE=|ulimit -n |nofile=)\d+`), "$1<limit>"},
	{regexp.MustCompile(`\b\d+-\d+-\d{4,}\b`), "<id>"},
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d)`), "<time>"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d(\.\d+)?\b`), "<time>"},
	{regexp.MustCompile(`\b(\d+(\.\d+)?(ns|µs|us|ms|[smhd]))+\b`), "<period>"},
	{regexp.MustCompile(`\b(pid|process) \d+`), "$1 <pid>"},
	{regexp.MustCompile(`\bl4proxy \d+\.\d+\.\d+\S*`), "l4proxy <version>"},
	{regexp.MustCompile(`\b(io_uring|epoll) on `), "<engine> on "},
	{regexp.MustCompile(`\bat most \d+`), "at most <limit>"},
	{regexp.MustCompile(`\benough for \d+`), "enough for <limit>"},
	{regexp.MustCompile(`(?m)(> +)\d+/\d+$`), "$1<retransmits>"},
	{regexp.MustCompile(`\b\d+(\.\d+)?[kMG]\b`), "<bytes>"},
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d\b`), "<day>"},
	{regexp.MustCompile(`=\d+\.\d+\b`), "=<number>"},
	{regexp.MustCompile(`\b(from_pid|checks)=\d+`), "$1=<number>"},
	{regexp.MustCompile(`:[3-6]\d{4}\b`), ":<port>"},
	{regexp.MustCompile(`\b\d+(\.\d+)? ?[kKMG]?i?B(/s)?\b`), "<bytes>"},
	{regexp.MustCompile(`[ \t]+`), " "},
}

// constant is what has to be the same in each run.
func constant(text string) []string {
	for _, v := range varying {
		text = v.pattern.ReplaceAllString(text, v.name)
	}
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

// startBackendProcess starts a backend that echoes, in a process of its own.
func startBackendProcess(t *testing.T, address string) (at string, process *exec.Cmd) {
	t.Helper()
	path, err := exec.LookPath("echo-backend")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, address)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := testenv.Start(t, cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	line := make([]byte, 100)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(line[:n])), cmd
}

// writeSteps writes what the commands have printed to the document, unless that differs only in
// what differs from run to run.
func writeSteps(t *testing.T, file, document string, steps []step) {
	t.Helper()
	slices.SortFunc(steps, func(a, b step) int { return b.from - a.from })
	for _, s := range steps {
		if slices.Equal(constant(s.got), constant(s.want)) {
			continue
		}
		document = document[:s.from] + strings.TrimRight(s.got, "\n") + "\n" + document[s.to:]
	}
	if err := os.WriteFile(file, []byte(document), 0o644); err != nil {
		t.Fatal(err)
	}
}
