package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/millrace/millrace/schemas/link"
)

// explainHTTP says what an error of the HTTP client means.
func explainHTTP(err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "malformed HTTP response"), strings.Contains(text, "malformed HTTP status"):
		return fmt.Errorf("what answers does not speak HTTP: it may be the TLS port, then write https:// in clickhouse.addr or set clickhouse.tls.enabled, or the port of the native protocol: %w", err)
	case !errors.As(err, new(unreached)) && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)):
		return fmt.Errorf("it ended the connection without an answer; where it does so at once it may be a TLS port (https:// in clickhouse.addr): %w", err)
	}
	return err
}

// withoutAddress leaves out an address in front of an error, which the caller names.
func withoutAddress(err error) error {
	if e, ok := errors.AsType[*link.TLSError](err); ok {
		return addressless{err, strings.TrimPrefix(err.Error(), e.Addr+": ")}
	}
	return err
}

// addressless is an error with a shorter text.
type addressless struct {
	error
	text string
}

func (e addressless) Error() string { return e.text }

func (e addressless) Unwrap() error { return e.error }

// Codes of exceptions that an operator can do something about.
const (
	codeUnknownDatabase  = 81
	codeUnknownSetting   = 115
	codeReadonly         = 164
	codeUnknownUser      = 192
	codeWrongPassword    = 193
	codeRequiredPassword = 194
	codeNoSuchCluster    = 701
	codeConstraint       = 452
	codeAccessDenied     = 497
	codeAuthentication   = 516
	codeNoElement        = 139 // no Keeper in the server's configuration, or a macro is missing
	codeNoKeeper         = 225
	codeTableReadonly    = 242
	codeTooFewReplicas   = 285
	codeKeeper           = 999
)

// advice is what to do about an exception of the server, "" where its text says enough.
func (c *Client) advice(e *ch.Exception) string {
	switch e.Code {
	case codeUnknownUser, codeWrongPassword, codeRequiredPassword, codeAuthentication:
		if c.fleet.certified && c.fleet.password == nil {
			return "user " + c.fleet.username + " is not let in: clickhouse.username must be a user of the server that is identified by the certificate of clickhouse.tls.cert_file"
		}
		return "user " + c.fleet.username + " is not let in: check clickhouse.username, and clickhouse.password_file or clickhouse.password"
	case codeAccessDenied:
		if !strings.Contains(e.Message, "grant") {
			return "" // the embedded ClickHouse has reasons of its own, and says them
		}
		return "user " + c.fleet.username + " (clickhouse.username) lacks this grant: what each role needs stands in deploy/README.md, ClickHouse"
	case codeReadonly:
		if !strings.Contains(e.Message, "readonly mode") {
			return "" // as that
		}
		return "the profile of user " + c.fleet.username + " (clickhouse.username) forbids it: readonly must be 2 for a user that only reads, and 0 for a recorder or monitor, since settings are sent with each query"
	case codeConstraint:
		return "the profile of user " + c.fleet.username + " (clickhouse.username) constrains a setting that is sent with each query: let it be changed, or give the user another profile"
	case codeUnknownSetting:
		return "the server is too old for this release of millrace, or a proxy takes a setting for its own"
	case codeUnknownDatabase:
		return "clickhouse.database names it"
	case codeNoSuchCluster:
		return "clickhouse.cluster must be one of the server's remote_servers: SELECT DISTINCT cluster FROM system.clusters"
	case codeNoElement:
		if c.storage.Cluster != "" {
			return "clickhouse.cluster needs Keeper, distributed_ddl and the macros shard and replica in the configuration of each server"
		}
	case codeTooFewReplicas:
		return "rows wait in Kafka until enough replicas are there: clickhouse.insert_quorum"
	}
	return ""
}

// told returns an error of the server, or of the way to it, in words for the operator.
func (c *Client) told(err error) error {
	if e, ok := errors.AsType[*ch.Exception](err); ok {
		if advice := c.advice(e); advice != "" {
			return fmt.Errorf("%w; %s", e, advice) // without the driver's own words
		}
		return err
	}
	// The client's own words hold the whole URL, with all settings.
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if errors.Is(err, ch.ErrAcquireConnTimeout) { // its words are for programmers
		return fmt.Errorf("reach clickhouse at %s: no connection in time", c.names())
	}
	if e := net.Error(nil); errors.As(err, &e) && e.Timeout() && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("clickhouse at %s: %w", c.names(), err)
	}
	return err
}

// names lists the servers.
func (c *Client) names() string {
	names := make([]string, len(c.fleet.addresses))
	for i, a := range c.fleet.addresses {
		names[i] = a.String()
	}
	return strings.Join(names, ", ")
}
