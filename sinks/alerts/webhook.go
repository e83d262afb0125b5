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

// Deliver posts one event. Any answer but 2xx is an error, and the event is to be sent
// again: the receiver recognises a repeat by the event's id.
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
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("post event to %s: %s: %.200q", w.URL, resp.Status, text)
	}
	if err != nil {
		return fmt.Errorf("post event to %s: read the answer: %w", w.URL, err)
	}
	return nil
}
