package web

import (
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func get(h http.Handler, method, path string, header map[string]string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for name, value := range header {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// assets are the files that a text refers to.
var assets = regexp.MustCompile(`(?:from |import |href=|src=)"([^"#{][^"]*)"`)

// The page and every module name only files that are there, of the same version.
func TestPageIsComplete(t *testing.T) {
	h := New()
	page := get(h, "GET", "/", nil)
	if page.Code != 200 || page.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("/: %d %s", page.Code, page.Header())
	}
	if strings.Contains(page.Body.String(), placeholder) {
		t.Error("the page has a placeholder")
	}
	found := 0
	for _, match := range assets.FindAllStringSubmatch(page.Body.String(), -1) {
		w := get(h, "GET", "/"+match[1], nil)
		if w.Code != 200 || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", match[1], w.Code, w.Header())
		}
		found++
	}
	if found < 5 {
		t.Errorf("the page names %d files", found)
	}
	for name, f := range h.files {
		if !strings.HasSuffix(name, ".js") {
			continue
		}
		for _, match := range assets.FindAllStringSubmatch(string(f.text), -1) {
			target := match[1]
			at := name[:strings.LastIndexByte("/"+name, '/')]
			for ; strings.HasPrefix(target, "../"); target = target[3:] {
				at = at[:strings.LastIndexByte("/"+strings.TrimSuffix(at, "/"), '/')]
			}
			if h.files[at+strings.TrimPrefix(target, "./")] == nil {
				t.Errorf("%s imports %s, which is missing", name, match[1])
			}
		}
	}
}

// Nothing is fetched from elsewhere, and no text is parsed as HTML.
func TestFilesAreSafe(t *testing.T) {
	for name, f := range New().files {
		if strings.HasPrefix(name, "uplot/") {
			continue
		}
		for _, bad := range []string{
			"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "style=", "javascript:", "on" + "click=", "@import", "url(",
		} {
			if strings.Contains(string(f.text), bad) {
				t.Errorf("%s has %q", name, bad)
			}
		}
		for _, url := range regexp.MustCompile(`https?://[^"'\s)]+`).FindAllString(string(f.text), -1) {
			if url != "http://www.w3.org/2000/svg" {
				t.Errorf("%s has the address %s", name, url)
			}
		}
	}
}

// Every answer forbids what the page does not need.
func TestHeaders(t *testing.T) {
	h := New()
	for _, path := range []string{"/", "/assets/" + h.version + "/app.js", "/assets/nonsense"} {
		header := get(h, "GET", path, nil).Header()
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
			"X-Content-Type-Options":  "nosniff",
			"Referrer-Policy":         "no-referrer",
		} {
			if got := header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
	}
	if got := get(h, "GET", "/", nil).Header().Get("Cache-Control"); got != "no-cache" {
		t.Errorf("the page is cached: %s", got)
	}
}

// A browser that has the page does not get it again; a new version has other addresses.
func TestCache(t *testing.T) {
	h := New()
	etag := get(h, "GET", "/", nil).Header().Get("ETag")
	for _, value := range []string{etag, "W/" + etag, `"other", ` + etag, "*"} {
		w := get(h, "GET", "/", map[string]string{"If-None-Match": value})
		if w.Code != http.StatusNotModified || w.Body.Len() > 0 {
			t.Errorf("If-None-Match %s: %d", value, w.Code)
		}
	}
	if w := get(h, "GET", "/", map[string]string{"If-None-Match": `"other"`}); w.Code != 200 {
		t.Errorf("another ETag: %d", w.Code)
	}
	files := func(app string) fs.FS {
		return fstest.MapFS{page: {Data: []byte(placeholder)}, "app.js": {Data: []byte(app)}}
	}
	one, two := newHandler(files("1")), newHandler(files("2"))
	if one.version == two.version {
		t.Error("two versions have the same addresses")
	}
	if w := get(two, "GET", "/assets/"+one.version+"/app.js", nil); w.Code != http.StatusNotFound || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("a file of another version: %d %v", w.Code, w.Header())
	}
	if a, b := get(one, "GET", "/", nil).Header().Get("ETag"), get(two, "GET", "/", nil).Header().Get("ETag"); a == b {
		t.Error("the pages of two versions have the same ETag")
	}
}

func TestUnknownFiles(t *testing.T) {
	h := New()
	for _, path := range []string{
		"/assets/", "/assets/" + h.version, "/assets/" + h.version + "/", "/assets/" + h.version + "/index.html",
		"/assets/" + h.version + "/nothing.js", "/assets/" + h.version + "/uplot", "/assets/app.js",
	} {
		if w := get(h, "GET", path, nil); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestHead(t *testing.T) {
	w := get(New(), "HEAD", "/", nil)
	if w.Code != 200 || w.Body.Len() > 0 || w.Header().Get("Content-Length") == "0" {
		t.Errorf("%d, %d bytes, %v", w.Code, w.Body.Len(), w.Header())
	}
}

// Files are sent in gzip's form to clients that want that.
func TestGzip(t *testing.T) {
	h := New()
	path := "/assets/" + h.version + "/uplot/uPlot.esm.js"
	plain := get(h, "GET", path, nil)
	for value, want := range map[string]bool{
		"gzip": true, "br, GZIP;q=0.5": true, "gzip; q=1": true,
		"": false, "br": false, "gzip;q=0": false, "gzip; q=0.0": false, "x-gzip": false, "gzip;q=nonsense": false,
	} {
		w := get(h, "GET", path, map[string]string{"Accept-Encoding": value})
		if got := w.Header().Get("Content-Encoding") == "gzip"; got != want {
			t.Errorf("Accept-Encoding %q: gzip %t", value, got)
		}
		text := io.Reader(w.Body)
		if want {
			if w.Body.Len()*2 > plain.Body.Len() {
				t.Errorf("%d bytes of %d", w.Body.Len(), plain.Body.Len())
			}
			unzipped, err := gzip.NewReader(w.Body)
			if err != nil {
				t.Fatal(err)
			}
			text = unzipped
		}
		if got, err := io.ReadAll(text); err != nil || string(got) != plain.Body.String() {
			t.Errorf("Accept-Encoding %q: another text: %v", value, err)
		}
	}
}

// Vendored code comes with its licence, and says its version.
func TestVendoredFiles(t *testing.T) {
	h := New()
	names := slices.DeleteFunc(slices.Sorted(func(yield func(string) bool) {
		for name := range h.files {
			if !yield(name) {
				return
			}
		}
	}), func(name string) bool { return !strings.HasPrefix(name, "uplot/") })
	if want := []string{"uplot/LICENSE", "uplot/uPlot.esm.js", "uplot/uPlot.min.css"}; !slices.Equal(names, want) {
		t.Errorf("files %q, want %q", names, want)
	}
}
