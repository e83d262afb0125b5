package alerts

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// DefaultTimeout bounds one delivery whose subscription names no timeout.
const DefaultTimeout = 10 * time.Second

// Webhook posts events to a URL, as CloudEvents in structured mode (HTTP protocol binding
// 1.0). It is safe for concurrent use.
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
	URL    string
	Status string
	Text   string // the beginning of the answer
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("post event to %s: refused for good: %s: %q", e.URL, e.Status, e.Text)
}

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
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(event))
	if err != nil {
		return fmt.Errorf("post event to %s: %w", w.URL, err)
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
	text, err := io.ReadAll(io.LimitReader(resp.Body, 200))
	if refuses(resp.StatusCode) {
		return &RefusedError{URL: w.URL, Status: resp.Status, Text: string(text)}
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("post event to %s: %s: %.200q", w.URL, resp.Status, text)
	}
	if err != nil {
		return fmt.Errorf("post event to %s: read the answer: %w", w.URL, err)
	}
	return nil
}
