// Package browser drives the dashboard in a real browser. It is a module of its own: the product
// does not need the library that talks to the browser.
package browser
