package browser

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"l4proxy/admin"
	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// views are the addresses of all views of a fake.
func (f *fake) views() []string {
	pool := f.status.Pools[len(f.status.Pools)-1].Name
	return []string{"#/", "#/pool/" + url.PathEscape(pool), "#/connections", "#/config"}
}

// settled waits until a view shows what it fetches.
func (p *tab) settled(hash string) {
	p.t.Helper()
	p.live()
	name, _, _ := strings.Cut(strings.TrimPrefix(hash, "#/"), "/")
	p.until("the view "+hash, `document.querySelector("main")?.dataset.view === `+quote(cmp.Or(name, "overview")))
	p.until("the view has what it shows", map[string]string{
		"":            `document.querySelector(".tile canvas") && document.querySelector(".feed li")`,
		"pool":        `document.querySelector(".tile canvas") && document.querySelector("tbody tr")`,
		"connections": `document.querySelector("tbody tr")`,
		"config":      `document.querySelector(".code .line")`,
	}[name])
}

// Names and errors are text, whatever they hold.
func TestBrowserShowsHostileNamesAsText(t *testing.T) {
	const markup = `"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'&lt;`
	f := hostile(markup).serve(t)
	page := open(t, desktop, f.url)
	check := func(where string) {
		t.Helper()
		page.sees(markup)
		if eval[bool](page, `Boolean(window.hacked) || document.querySelector("img, main script, iframe") !== null`) {
			t.Errorf("%s: a name was parsed as HTML", where)
		}
	}
	for _, hash := range f.views() {
		page.visit(hash)
		page.settled(hash)
		check(hash)
	}
	page.visit(f.views()[1])
	page.click("td.actions button.danger-text")
	page.sees("1 connection matches.")
	check("the question")
}

// Nothing is wider than a phone, also with long names and many problems.
func TestBrowserFitsPhone(t *testing.T) {
	for name, f := range map[string]*fake{"calm": calm(), "troubled": troubled()} {
		f.serve(t)
		page := open(t, phone, f.url)
		for _, hash := range f.views() {
			page.visit(hash)
			page.settled(hash)
			if width := eval[int](page, "document.scrollingElement.scrollWidth"); width > 360 {
				t.Errorf("%s, %s: %d pixels wide: %s", name, hash, width, eval[string](page,
					`[...document.querySelectorAll("main *")].filter(e => e.getBoundingClientRect().right > 361).slice(0, 8).map(e => e.tagName + "." + e.className).join(" ")`))
			}
		}
	}
}

// Axe finds nothing to say, in both themes and sizes, about any view or question.
func TestBrowserIsAccessible(t *testing.T) {
	axe, err := os.ReadFile("testdata/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	check := func(page *tab, where string) {
		t.Helper()
		for _, fault := range eval[[]string](page, `axe.run({resultTypes: ["violations"]}).then(r => r.violations.map(v =>
			v.id + " (" + v.impact + "): " + v.help + ": " + v.nodes.slice(0, 3).map(n => n.html.slice(0, 160) + " " + n.any.map(a => a.message).join(" ").slice(0, 200)).join("; ")))`) {
			t.Errorf("%s: %s", where, fault)
		}
	}
	small := screen{360, 780, true, "light"}
	dark := screen{1440, 900, false, "dark"}
	for name, c := range map[string]struct {
		*fake
		screens []screen
	}{
		"calm":     {calm(), []screen{desktop, phone}},
		"troubled": {troubled(), []screen{desktop, dark, small}},
	} {
		f := c.serve(t)
		for _, on := range c.screens {
			page := open(t, on, f.url)
			page.live()
			eval[any](page, string(axe)+"; null")
			for _, hash := range f.views() {
				page.visit(hash)
				page.settled(hash)
				check(page, fmt.Sprintf("%s, %s, %d pixels, %s", name, on.theme, on.width, hash))
			}
			page.visit(f.views()[1])
			page.click(`button[aria-label^="Drain"]`)
			check(page, fmt.Sprintf("%s, %s, %d pixels, question", name, on.theme, on.width))
		}
	}
}

// The choice of a theme stays, and the charts follow it.
func TestBrowserSwitchesTheme(t *testing.T) {
	f := calm().serve(t)
	page := open(t, desktop, f.url)
	page.settled("#/")
	background := func() string { return eval[string](page, `getComputedStyle(document.documentElement).backgroundColor`) }
	light := background()
	page.click("#theme") // light
	if got := background(); got != light {
		t.Errorf("light is %s, of the system %s", got, light)
	}
	page.click("#theme") // dark
	dark := background()
	if dark == light {
		t.Errorf("dark is %s too", dark)
	}
	eval[any](page, "location.reload()")
	page.settled("#/")
	if got := background(); got != dark {
		t.Errorf("%s after loading again, want %s", got, dark)
	}
	page.show(screen{1440, 900, false, "dark"})
	page.click("#theme") // of the system again
	if got := background(); got != dark {
		t.Errorf("%s with a dark system, want %s", got, dark)
	}
}

// A pool of 10,000 backends can be read and filtered, and the page stays quick.
func TestBrowserShowsManyBackends(t *testing.T) {
	f := calm()
	many := make([]admin.BackendStatus, 10_000)
	for i := range many {
		many[i] = admin.BackendStatus{Address: fmt.Sprintf("10.%d.%d.%d:443", i>>16, i>>8&255, i&255), State: admin.BackendUp, Weight: 1}
	}
	many[7777].State, many[7777].Error = admin.BackendDown, "connect: connection refused"
	f.status.Pools = append(f.status.Pools, admin.PoolStatus{Name: "many", Policy: "maglev", Serving: true, Backends: many})
	for i := range 1000 {
		f.status.Listeners = append(f.status.Listeners, admin.ListenerStatus{Name: fmt.Sprintf("listener-%d", i), Pool: "many", State: admin.ListenerOpen})
	}
	f.serve(t)
	page := open(t, desktop, f.url)
	page.settled("#/")
	page.sees("Show 200 more of 952")
	page.visit("#/pool/many")
	page.sees("Show 200 more of 9,950")
	page.until("problems come first", fmt.Sprintf(`document.querySelector("tbody tr").innerText.includes(%q)`, many[7777].Address))
	page.click(".rest button")
	page.sees("Show 200 more of 9,750")
	if rows := eval[int](page, `document.querySelectorAll("tbody tr").length`); rows != 250 {
		t.Errorf("%d rows, want 250", rows)
	}
	page.do(sendKeys(`input[name="search"]`, "10.0.39."))
	page.sees("16 of 10,000")
	page.until("the rows match", `document.querySelectorAll("tbody tr").length === 16`)
	// The longest time in which the page does not react, in ten frames or more.
	const most = 2000 // milliseconds; the machine may be busy
	if longest := eval[float64](page, `new Promise(resolve => {
		let last = performance.now(), longest = 0, end = last + 3000;
		(function frame(now) { longest = Math.max(longest, now - last); last = now; now < end ? requestAnimationFrame(frame) : resolve(longest) })(last);
	})`); longest > most {
		t.Errorf("the page does not react for %v ms", longest)
	}
}

// Without pools, connections or changes, each view says so.
func TestBrowserShowsEmptyStates(t *testing.T) {
	f := calm()
	f.status.Listeners, f.status.Pools, f.events, f.page = nil, nil, nil, admin.ConnectionPage{}
	f.serve(t)
	page := open(t, desktop, f.url)
	for hash, texts := range map[string][]string{
		"#/":             {"No problems", "No listener is configured.", "No pool is configured.", "Nothing has happened"},
		"#/pool/nowhere": {"The proxy has no pool with this name."},
		"#/connections":  {"0 live connections", "No connection matches."},
		"#/config":       {"The file matches what is in effect.", "No command has changed anything"},
		"#/nonsense":     {"No problems"},
	} {
		page.visit(hash)
		for _, text := range texts {
			page.sees(text)
		}
	}
}

// The parser of the stream takes pieces that are cut anywhere.
func TestBrowserParsesStream(t *testing.T) {
	f := calm().serve(t)
	page := open(t, desktop, f.url)
	page.live()
	got := eval[string](page, `(async () => {
		const script = document.querySelector("script[type=module]").src.replace("app.js", "sse.js");
		const { Parser } = await import(script);
		const stream = ": hello\r\nretry: 1000\r\n\r\nid: 7\nevent: stats\ndata: {\"a\":\ndata: 1}\n\ndata:plain\r\rdata\n\nevent: x\n\n";
		const all = new Set();
		for (let size = 1; size <= stream.length; size++) {
			const parser = new Parser();
			const messages = [];
			for (let i = 0; i < stream.length; i += size) {
				messages.push(...parser.push(stream.slice(i, i + size)));
			}
			all.add(JSON.stringify(messages));
		}
		return [...all].join("\n");
	})()`)
	if want := `[{"event":"stats","data":"{\"a\":\n1}"},{"event":"message","data":"plain"},{"event":"message","data":""}]`; got != want {
		t.Errorf("messages\n%s\nwant\n%s", got, want)
	}
}

// Numbers are written as people read them.
func TestBrowserFormats(t *testing.T) {
	f := calm().serve(t)
	page := open(t, desktop, f.url)
	page.live()
	for script, want := range map[string]string{
		`f.count(9999)`: "9,999", `f.count(99999)`: "99,999", `f.count(123456)`: "123k", `f.count(2800000)`: "2.80M", `f.count(null)`: "–", `f.count(999999)`: "1.00M",
		`f.rate(0)`: "0", `f.rate(0.04)`: "0.0", `f.rate(4.96)`: "5.0", `f.rate(9.96)`: "10", `f.rate(1234.5)`: "1,235",
		`f.bytes(0)`: "0 B", `f.bytes(999)`: "999 B", `f.bytes(1000)`: "1.00 kB", `f.bytes(12345678)`: "12.3 MB", `f.bytes(1e18)`: "1000 PB",
		`f.latency(0.0004)`: "400 µs", `f.latency(0.0042)`: "4.2 ms", `f.latency(0.25)`: "250 ms", `f.latency(3)`: "3.0 s", `f.latency(null)`: "–",
		`f.period(59)`: "59s", `f.period(61)`: "1m1s", `f.period(3660)`: "1h1m", `f.period(90000)`: "1d1h", `f.period(-5)`: "0s",
		`f.brief(f.byteRate)(10000)`: "10 kB", `f.brief(f.latency)(0.001)`: "1 ms", `f.brief(f.rate)(5)`: "5",
	} {
		if got := eval[string](page, `import(document.querySelector("script[type=module]").src.replace("app.js", "format.js")).then(f => `+script+`)`); got != want {
			t.Errorf("%s is %s, want %s", script, got, want)
		}
	}
}

// The pictures of the documentation show the demo, with its traffic.
func TestBrowserPictures(t *testing.T) {
	const most = 200 << 10 // bytes
	file := func(on screen) string {
		size := "wide"
		if on.phone {
			size = "phone"
		}
		return fmt.Sprintf("../docs/images/dashboard-%s-%s.png", on.theme, size)
	}
	screens := []screen{{1280, 860, false, "light"}, {1280, 860, false, "dark"}, {360, 780, true, "light"}, {360, 780, true, "dark"}}
	if *update {
		demo := startDemo(t)
		for _, on := range screens {
			page := open(t, on, demo)
			page.settled("#/")
			page.until("there is something to see", figure+`("Connections") > 2`)
			if err := os.WriteFile(file(on), page.picture(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, on := range screens {
		info, err := os.Stat(file(on))
		if err != nil {
			t.Fatalf("%v: run the suite with -update", err)
		}
		if info.Size() > most {
			t.Errorf("%s has %d bytes, more than %d", file(on), info.Size(), most)
		}
	}
}

// startDemo runs the demo with its traffic, and returns the address of its dashboard when there is
// something to see: minutes of traffic, and a backend that has failed and come back.
func startDemo(t *testing.T) string {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", testnet.FreePort(t))
	cmd := exec.Command(binary(t), "demo", "--traffic", "--listen", "127.0.0.1:0", "--admin", address)
	if err := testenv.Start(t, cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	began := time.Now()
	fault := func(fault string, after time.Duration) {
		testnet.Within(after, func() bool { return false })
		response, err := http.Post("http://"+address+"/api/v1/demo/backend-2", "application/json", strings.NewReader(`{"fault":"`+fault+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", fault, response.Status)
		}
	}
	fault("slow", 4*time.Minute)
	fault("stop", 20*time.Second)
	fault("none", 8*time.Second)
	testnet.Within(5*time.Minute+10*time.Second-time.Since(began), func() bool { return false })
	return "http://" + address + "/"
}
