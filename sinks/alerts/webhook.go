package alerts

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/schemas"
)

// DefaultTimeout bounds one delivery whose subscription names no timeout.
const DefaultTimeout = 10 * time.Second

// How much of an answer is read, and told.
const (
	mostRead = 4 << 10
	mostSaid = 200
)

// Webhook posts events to a URL, as CloudEvents in structured mode (HTTP protocol binding
// 1.0). It is safe for concurrent use. Its errors hold nothing of the URL but its public part,
// and none of the headers' values, also where the receiver repeats them.
type Webhook struct {
	URL     string
	Headers map[string]string // added to each request
	Client  *http.Client
}

// NewWebhook returns a webhook whose deliveries take at most timeout, or DefaultTimeout if
// that is zero. Redirects are not followed: an event goes where the operator said.
func NewWebhook(url string, headers map[string]string, timeout time.Duration) *Webhook {
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	return &Webhook{URL: url, Headers: headers, Client: &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// RefusedError is an answer that says that the receiver does not take this event, however
// often it is sent.
type RefusedError struct {
	Status int
	text   string
}

func (e *RefusedError) Error() string { return e.text }

// Ambiguous tells that the answer can also be about the request as such, as that of a TLS port
// to an http:// address is: whoever has accepted an event means the event by it.
func (e *RefusedError) Ambiguous() bool { return e.Status == http.StatusBadRequest }

// refuses tells whether a status is about the event itself. Others of 400 to 499, as of a
// wrong path or token, are for an operator to mend, and the event is kept for then.
func refuses(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	default:
		return false
	}
}

// Deliver posts one event. Any answer but 2xx is an error, and the event is to be sent
// again unless that is a RefusedError: the receiver recognises a repeat by the event's id.
func (w *Webhook) Deliver(ctx context.Context, event []byte) error {
	return schemas.WithoutSecrets(w.deliver(ctx, event), []string{w.URL}, slices.Collect(maps.Values(w.Headers)))
}

func (w *Webhook) deliver(ctx context.Context, event []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(event))
	if err != nil { // which repeats parts of the URL in ways of its own
		return fmt.Errorf("post event to %s: its URL cannot be used", schemas.PublicAddress(w.URL))
	}
	req.Header.Set("Content-Type", "application/cloudevents+json; charset=UTF-8")
	for k, v := range w.Headers {
		req.Header.Set(k, v)
	}
	resp, err := w.Client.Do(req)
	if err != nil {
		return fmt.Errorf("post event: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, mostRead))
	addresses, secrets := []string{w.URL}, slices.Collect(maps.Values(w.Headers))
	// Before it is quoted and cut, which would leave a part of a secret.
	said := schemas.Excerpt(string(text), mostSaid, addresses, secrets)
	if refuses(resp.StatusCode) {
		answer := fmt.Sprintf("post event to %s: refused: %s: %q", w.URL, resp.Status, said)
		return &RefusedError{resp.StatusCode, schemas.HideSecrets(answer, addresses, secrets)}
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("post event to %s: %s: %q", w.URL, resp.Status, said)
	}
	if err != nil {
		return fmt.Errorf("post event to %s: read the answer: %w", w.URL, err)
	}
	return nil
}

// Hint says what may be wrong where a receiver has accepted no event yet and answers 400.
func (w *Webhook) Hint() string {
	if strings.HasPrefix(strings.ToLower(w.URL), "http://") {
		return "does it expect https://? A TLS port answers 400 to http://"
	}
	return "is the URL right, and does it take CloudEvents?"
}
