package browser

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"l4proxy/internal/testnet"
)

// patience is how long an action of the browser may take.
const patience = 20 * time.Second

// tab is a page of the browser.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu     sync.Mutex
	faults []string
	// expected are parts of what may stand in the console, such as a request that is refused.
	expected []string
}

// screen is what a page is shown on.
type screen struct {
	width, height int64
	phone         bool
	theme         string // "light" or "dark"
}

var (
	desktop = screen{1440, 900, false, "light"}
	phone   = screen{360, 780, true, "dark"}
)

// open opens a tab at an address. At the end of the test, nothing may stand in its console: no
// error, no warning, no violation of the policy.
func open(t *testing.T, on screen, url string, expected ...string) *tab {
	t.Helper()
	parent := browser(t)
	p := &tab{t: t, expected: expected}
	ctx, cancel := chromedp.NewContext(parent, chromedp.WithNewBrowserContext())
	p.ctx = ctx
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the page shows:\n%s", p.text())
		}
		cancel()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, fault := range p.faults {
			t.Errorf("console: %s", fault)
		}
	})
	if err := chromedp.Listen(ctx, p.hear); err != nil {
		t.Fatal(err)
	}
	p.show(on)
	p.do(chromedp.Navigate(url))
	return p
}

// hear notes what stands in the console.
func (p *tab) hear(event any) {
	var fault string
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		var words []string
		for _, arg := range e.Args {
			words = append(words, string(arg.Value)+arg.Description)
		}
		fault = fmt.Sprintf("%s: %s", e.Type, strings.Join(words, " "))
	case *runtime.EventExceptionThrown:
		fault = "exception: " + e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			fault += " " + e.ExceptionDetails.Exception.Description
		}
	case *cdplog.EventEntryAdded:
		fault = fmt.Sprintf("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL)
	default:
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, part := range p.expected {
		if strings.Contains(fault, part) {
			return
		}
	}
	p.faults = append(p.faults, fault)
}

// show changes the size and the theme.
func (p *tab) show(on screen) {
	p.t.Helper()
	scale := 1.0
	if on.phone {
		scale = 2
	}
	p.call(func(ctx context.Context) error {
		if _, err := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: on.width, Height: on.height, DeviceScaleFactor: scale, Mobile: on.phone,
		}); err != nil {
			return err
		}
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: on.theme}},
		})
		return err
	})
}

func (p *tab) call(f func(context.Context) error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := f(ctx); err != nil {
		p.t.Fatal(err)
	}
}

func (p *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	p.call(func(ctx context.Context) error { return chromedp.Do(ctx, actions...) })
}

// eval evaluates JavaScript, which may be a promise.
func eval[T any](p *tab, script string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v", script, err)
	}
	return value
}

// quote is a Go string as JavaScript.
func quote(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// until waits until a condition in JavaScript holds.
func (p *tab) until(what, condition string) {
	p.t.Helper()
	testnet.Eventually(p.t, what, func() bool { return eval[bool](p, "Boolean("+condition+")") })
}

// has reports whether the text of the page has a part.
func (p *tab) sees(text string) {
	p.t.Helper()
	p.until("the page shows "+text, "document.body.innerText.includes("+quote(text)+")")
}

// text is what a user reads, dialogs too.
func (p *tab) text() string {
	ctx, cancel := context.WithTimeout(p.ctx, time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
	if err != nil {
		return err.Error()
	}
	return text
}

// click clicks with the mouse on what a CSS selector finds.
func (p *tab) click(selector string) {
	p.t.Helper()
	p.until(selector+" can be clicked", fmt.Sprintf("(e => e && !e.disabled && e.offsetParent !== null)(document.querySelector(%s))", quote(selector)))
	p.do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// press presses keys.
func (p *tab) press(keys string) {
	p.t.Helper()
	p.do(chromedp.KeyEvent(keys))
}

// tabTo presses Tab until an element is focused, as a user without a mouse does.
func (p *tab) tabTo(selector string) {
	p.t.Helper()
	const most = 80
	for range most {
		p.press(kb.Tab)
		if eval[bool](p, fmt.Sprintf("Boolean(document.activeElement?.matches(%s))", quote(selector))) {
			return
		}
	}
	p.t.Fatalf("%s cannot be reached by %d times Tab", selector, most)
}

// visit changes the view.
func (p *tab) visit(hash string) {
	p.t.Helper()
	p.do(chromedp.Evaluate[chromedp.Void]("location.hash = " + quote(hash)))
}

// live waits until the page is connected.
func (p *tab) live() {
	p.t.Helper()
	p.until("the page is live", `document.querySelector("#link")?.classList.contains("live")`)
}

// expect allows what the console has said.
func (p *tab) expect(part string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = append(p.expected, part)
	p.faults = slices.DeleteFunc(p.faults, func(fault string) bool { return strings.Contains(fault, part) })
}

// sendKeys types into a field, in place of what is there.
func sendKeys(selector, keys string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		sel := chromedp.CSS(selector)
		if _, err := chromedp.Clear(sel, chromedp.NodeVisible)(ctx, t); err != nil {
			return chromedp.Void{}, err
		}
		return chromedp.SendKeys(sel, keys, chromedp.NodeVisible)(ctx, t)
	}
}

// picture is what the page looks like, as a PNG.
func (p *tab) picture() []byte {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	taken, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Fatal(err)
	}
	decoded, err := png.Decode(bytes.NewReader(taken))
	if err != nil {
		p.t.Fatal(err)
	}
	var small bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, decoded); err != nil {
		p.t.Fatal(err)
	}
	return small.Bytes()
}
