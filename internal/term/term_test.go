package term

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func example() *Table {
	t := NewTable(Text("POOL"), Text("BACKEND").Short(8), Text("STATE"), Number("CONNECTIONS"), Number("LIMIT").Optional(1))
	t.Row("web", "10.0.0.1:80", State("up"), 1234, "-")
	t.Row("日本", "backend-of-a-long-name.example:80", State("down"), 5, 100)
	return t
}

func TestTableInAFile(t *testing.T) {
	want := `
POOL  BACKEND                            STATE  CONNECTIONS  LIMIT
web   10.0.0.1:80                        up            1234      -
日本  backend-of-a-long-name.example:80  down             5    100
`
	if diff := cmp.Diff(want[1:], example().String()); diff != "" {
		t.Error(diff)
	}
}

func TestTableOnAScreen(t *testing.T) {
	for width, want := range map[int]string{
		80: `
POOL  BACKEND                            STATE  CONNECTIONS  LIMIT
web   10.0.0.1:80                        up            1234      -
日本  backend-of-a-long-name.example:80  down             5    100
`,
		50: `
POOL  BACKEND            STATE  CONNECTIONS  LIMIT
web   10.0.0.1:80        up            1234      -
日本  backend-…ample:80  down             5    100
`,
		40: `
POOL  BACKEND         STATE  CONNECTIONS
web   10.0.0.1:80     up            1234
日本  backend…ple:80  down             5
`,
		10: `
POOL  BACKEND   STATE  CONNECTIONS
web   10.0…:80  up            1234
日本  back…:80  down             5
`,
	} {
		if diff := cmp.Diff(want[1:], example().Render(Screen{Width: width})); diff != "" {
			t.Errorf("%d columns: %s", width, diff)
		}
	}
}

func TestColorsByMeaning(t *testing.T) {
	table := NewTable(Text("STATE"), Number("N"))
	for _, state := range []string{"up", "drain", "down", "unknown", "other"} {
		table.Row(State(state), 1)
	}
	want := "\x1b[1mSTATE\x1b[m    \x1b[1mN\x1b[m\n" +
		"\x1b[32mup\x1b[m       1\n\x1b[33mdrain\x1b[m    1\n\x1b[31mdown\x1b[m     1\n\x1b[2munknown\x1b[m  1\nother    1\n"
	if diff := cmp.Diff(want, table.Render(Screen{Color: true})); diff != "" {
		t.Error(diff)
	}
}

// A name or an error from the network cannot control the terminal, nor break a row.
func TestHostileCells(t *testing.T) {
	table := NewTable(Text("A"), Text("B"))
	table.Row("\x1b[2J\u009b1m", "two\nlines\u202e\xff")
	if diff := cmp.Diff("A        B\n?[2J?1m  two lines?\ufffd\n", table.String()); diff != "" {
		t.Error(diff)
	}
	if got := Printable("a\tb\nc\x7f"); got != "a?b\nc?" {
		t.Errorf("%q", got)
	}
}

func TestMiddle(t *testing.T) {
	for width, want := range map[int]string{0: "", 1: "a", 2: "a…", 3: "a…f", 5: "ab…ef", 6: "abcdef", 9: "abcdef"} {
		if got := Middle("abcdef", width); got != want {
			t.Errorf("%d columns: %q, want %q", width, got, want)
		}
	}
	for width := range 12 {
		for _, text := range []string{"日本語テスト", "e\u0301e\u0301e\u0301e\u0301", "a日b本c語"} {
			if got := Middle(text, width); Width(got) > width {
				t.Errorf("%q in %d columns is %q, which takes %d", text, width, got, Width(got))
			}
		}
	}
}

func TestUnits(t *testing.T) {
	for got, want := range map[string]string{
		Count(1, "prefix"): "1 prefix", Count(2, "prefix"): "2 prefixes", Count(0, "rule"): "0 rules",
		Ago(-time.Second): "0ms", Ago(90 * time.Second): "1m30s", Ago(25 * time.Hour): "1d1h", Seconds(2.5): "2s",
		Bytes(-1): "0 B", Bytes(999): "999 B", Bytes(999.9): "1.00 kB", Bytes(12_345_678): "12.3 MB", Bytes(999_600): "1.00 MB", Bytes(5e18): "5 EB",
		BytesRate(123_456_789): "123 MB/s",
		Rate(0.01):             "0/s", Rate(9.94): "9.9/s", Rate(1234.5): "1234/s",
		Millis(0): "-", Millis(0.00041): "0.41ms", Millis(0.0031): "3.1ms", Millis(0.0417): "42ms", Millis(3.21): "3.2s",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// What is not a terminal has no width and no colors, whatever the environment says.
func TestScreenOfAFile(t *testing.T) {
	env := func(name string) (string, bool) {
		return map[string]string{"TERM": "xterm-256color"}[name], name == "TERM"
	}
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if s := ScreenOf(file, env); s != (Screen{}) {
		t.Errorf("a file: %+v", s)
	}
	if s := ScreenOf(new(bytes.Buffer), env); s != (Screen{}) {
		t.Errorf("a buffer: %+v", s)
	}
}
