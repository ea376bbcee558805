package route

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"l4proxy/clienthello"
)

func secure(name string, alpn ...string) clienthello.Hello {
	return clienthello.Hello{TLS: true, ServerName: name, ALPN: alpn}
}

func build(t testing.TB, routes []Route) *Table {
	table, err := Build(routes)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestFind(t *testing.T) {
	routes := []Route{
		0: {Names: []string{"*.example.com"}},
		1: {Names: []string{"DB.example.com."}},
		2: {Names: []string{"*.eu.example.com"}},
		3: {Names: []string{"web.example.com"}, ALPN: []string{"h2"}},
		4: {Names: []string{"web.example.com"}, ALPN: []string{"http/1.1", "h2"}},
		5: {ALPN: []string{"h2"}},
		6: {ALPN: []string{"postgresql"}},
		7: {Speaks: NotTLS},
	}
	table := build(t, routes)
	for _, c := range []struct {
		hello clienthello.Hello
		want  int
	}{
		{secure("db.example.com"), 1},
		{secure("a.example.com"), 0},
		{secure("a.b.example.com"), 0},
		{secure("a.db.example.com"), 0},
		{secure("a.eu.example.com"), 2},
		{secure("eu.example.com"), 0},
		{secure("example.com"), None},
		{secure("badexample.com"), None},
		{secure("com"), None},
		{secure(""), None},
		{secure("web.example.com", "http/1.1", "h2"), 3}, // the order of routes decides
		{secure("web.example.com", "http/1.1"), 4},
		{secure("web.example.com", "imap"), 0}, // no exact route takes it
		{secure("example.org", "h2"), 5},
		{secure("", "x", "postgresql"), 6},
		{secure("", "H2"), None},
		{clienthello.Hello{}, 7},
	} {
		if got := table.Find(&c.hello); got != c.want {
			t.Errorf("%+v: route %d, want %d", c.hello, got, c.want)
		}
	}
	var none *Table
	if got := none.Find(&clienthello.Hello{}); got != None || none.Routes() != nil || len(table.Routes()) != len(routes) {
		t.Errorf("nil table: route %d, routes %v", got, none.Routes())
	}
}

func TestTLSOnlyAndEverything(t *testing.T) {
	table := build(t, []Route{{Speaks: TLS}, {}})
	tls, plain := secure("a.example"), clienthello.Hello{}
	if a, b := table.Find(&tls), table.Find(&plain); a != 0 || b != 1 {
		t.Errorf("TLS takes route %d, others take %d", a, b)
	}
}

func TestRouteInWords(t *testing.T) {
	for want, r := range map[string]Route{
		"sni a.example, *.b.example; alpn h2": {Names: []string{"a.example", "*.b.example"}, ALPN: []string{"h2"}},
		"any TLS":                             {Speaks: TLS},
		"no TLS":                              {Speaks: NotTLS},
		"all clients":                         {},
	} {
		if got := r.String(); got != want {
			t.Errorf("%+v: %q, want %q", r, got, want)
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	for _, r := range []Route{
		{Names: []string{""}},
		{Names: []string{"."}},
		{Names: []string{"*"}},
		{Names: []string{"*."}},
		{Names: []string{"a.*.example.com"}},
		{Names: []string{"*example.com"}},
		{Names: []string{"*.*.example.com"}},
		{Names: []string{"*..example.com"}},
		{Names: []string{"a.example"}, Speaks: NotTLS},
		{ALPN: []string{"h2"}, Speaks: NotTLS},
	} {
		if table, err := Build([]Route{r}); err == nil {
			t.Errorf("%+v: accepted as %+v", r, table)
		}
	}
}

// slow is the obvious form of Find.
func slow(routes []Route, h *clienthello.Hello) int {
	best, bestRank := None, -1
	for i, r := range routes {
		if r.Speaks == TLS && !h.TLS || r.Speaks == NotTLS && h.TLS {
			continue
		}
		if len(r.ALPN) > 0 && (!h.TLS || !slices.ContainsFunc(r.ALPN, func(p string) bool { return slices.Contains(h.ALPN, p) })) {
			continue
		}
		rank := -1
		if len(r.Names) == 0 {
			rank = 0
		}
		for _, name := range r.Names {
			name = strings.ToLower(strings.TrimSuffix(name, "."))
			switch {
			case !h.TLS:
			case name == h.ServerName:
				rank = 1000
			case name[0] == '*' && strings.HasSuffix(h.ServerName, name[1:]) && len(h.ServerName) > len(name)-1:
				rank = max(rank, len(name))
			}
		}
		if rank > bestRank {
			best, bestRank = i, rank
		}
	}
	return best
}

func TestFindMatchesItsSlowTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		label := rapid.SampledFrom([]string{"a", "b", "C"})
		name := rapid.Custom(func(t *rapid.T) string {
			return strings.Join(rapid.SliceOfN(label, 1, 4).Draw(t, "labels"), ".")
		})
		alpn := rapid.SliceOfN(rapid.SampledFrom([]string{"h2", "http/1.1", "x"}), 0, 2)
		routes := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Route {
			r := Route{Speaks: rapid.SampledFrom([]Speaks{Anything, TLS, NotTLS}).Draw(t, "speaks")}
			if r.Speaks == NotTLS {
				return r
			}
			for range rapid.IntRange(0, 2).Draw(t, "names") {
				prefix := rapid.SampledFrom([]string{"", "*."}).Draw(t, "prefix")
				r.Names = append(r.Names, prefix+name.Draw(t, "name")+rapid.SampledFrom([]string{"", "."}).Draw(t, "dot"))
			}
			r.ALPN = alpn.Draw(t, "alpn")
			return r
		}), 0, 8).Draw(t, "routes")
		h := clienthello.Hello{}
		if rapid.Bool().Draw(t, "TLS") {
			h = secure(strings.ToLower(rapid.OneOf(name, rapid.Just("")).Draw(t, "asked")), alpn.Draw(t, "offered")...)
		}
		table, err := Build(routes)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := table.Find(&h), slow(routes, &h); got != want {
			t.Fatalf("route %d, want %d", got, want)
		}
	})
}

func TestFindAllocatesNothing(t *testing.T) {
	table := build(t, []Route{{Names: []string{"*.example.com"}, ALPN: []string{"h2"}}, {Names: []string{"*.com"}}})
	h := secure("a.b.c.d.example.com", "http/1.1")
	if n := testing.AllocsPerRun(100, func() { table.Find(&h) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFind(b *testing.B) {
	routes := []Route{{Names: []string{"*.example.com"}}}
	for i := range 1000 {
		routes = append(routes, Route{Names: []string{"host" + strings.Repeat("x", i%50) + ".example.org"}})
	}
	table := build(b, routes)
	h := secure("a.b.example.com", "h2")
	for b.Loop() {
		table.Find(&h)
	}
}
