package admin

import (
	"errors"
	"fmt"
	"net/http"
)

// Error is the body of every answer that is not a success.
type Error struct {
	Status int `json:"-"` // of HTTP
	// Message is what is wrong; it may have several lines.
	Message string `json:"error"`
	// Hint is what to do.
	Hint string `json:"hint,omitempty"`
}

func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + ": " + e.Hint
}

// Invalid is a request that is wrong by itself.
func Invalid(message, hint string) *Error { return &Error{http.StatusBadRequest, message, hint} }

// NotFound is a request about something that does not exist.
func NotFound(message, hint string) *Error { return &Error{http.StatusNotFound, message, hint} }

// Conflict is a request that does not fit the present state.
func Conflict(message, hint string) *Error { return &Error{http.StatusConflict, message, hint} }

// Refused is a request that was understood and not carried out, such as a reload of a bad file.
func Refused(message, hint string) *Error {
	return &Error{http.StatusUnprocessableEntity, message, hint}
}

// asError is err for the wire. An error that is not an *Error is a failure of the proxy.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Status: http.StatusInternalServerError, Message: err.Error()}
}

// Unavailable is the error of a command that this process does not have. name says what it cannot
// do.
func Unavailable(name string) *Error {
	return &Error{http.StatusNotImplemented, fmt.Sprintf("this process cannot %s", name), "see docs/api.md"}
}
