package consumers_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas/link"
	"github.com/millrace/millrace/schemas/link/linktest"
)

// securedBroker runs a broker of its own, and returns its address.
func securedBroker(t *testing.T, opts ...kfake.Opt) (*kfake.Cluster, string) {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(1, "t")}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c, c.ListenAddrs()[0]
}

// connectionTo returns what the configuration of tls and sasl makes.
func connectionTo(addr string, secure link.TLS, sasl link.SASL) consumers.Connection {
	conn := consumers.Connection{Brokers: []string{addr}, ClientID: "test", SASL: sasl.Credentials("kafka.sasl")}
	if secure.On() {
		conn.TLS = secure.Dialer("kafka.tls")
	}
	return conn
}

// ask asks Kafka one question by a client of its own, as a command does.
func ask(t *testing.T, conn consumers.Connection) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	admin, err := consumers.NewAdmin(conn)
	require.NoError(t, err)
	defer admin.Close()
	_, err = admin.Topics(ctx)
	require.NoError(t, ctx.Err(), "a refusal is told at once")
	return err
}

func serverTLS(t *testing.T, ca linktest.Certificate) *tls.Config {
	t.Helper()
	return &tls.Config{Certificates: []tls.Certificate{ca.Sign(t, linktest.For("127.0.0.1")).Pair()}, MinVersion: tls.VersionTLS12}
}

// Right credentials are let in, and each way to be refused is one sentence that names the broker
// and the key to mend, and no secret.
func TestBrokersLetInOrSayWhyNot(t *testing.T) {
	dir := t.TempDir()
	ca := linktest.NewAuthority(t, "authority")
	trusting := link.TLS{CAFile: linktest.Write(t, filepath.Join(dir, "ca.pem"), ca.PEM)}
	mutual := trusting
	mutual.CertFile, mutual.KeyFile = ca.Sign(t, linktest.For("client")).Files(t, dir, "client")
	const password = "pässwörd=,1" // UTF-8, and what SCRAM escapes in names
	sasl := func(mechanism, user, password string) link.SASL {
		return link.SASL{Mechanism: mechanism, Username: user, Password: link.Secret(password)}
	}
	users := []kfake.Opt{kfake.EnableSASL()}
	for _, mechanism := range []string{link.Plain, link.ScramSHA256, link.ScramSHA512} {
		users = append(users, kfake.Superuser(mechanism, "me", password))
	}
	mutualTLS := serverTLS(t, ca)
	mutualTLS.ClientAuth, mutualTLS.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	_, plainText := securedBroker(t)
	_, secured := securedBroker(t, kfake.TLS(serverTLS(t, ca)))
	_, withMutual := securedBroker(t, kfake.TLS(mutualTLS))
	_, withUsers := securedBroker(t, users...)
	_, withBoth := securedBroker(t, append(users, kfake.TLS(serverTLS(t, ca)))...)
	noFile := link.SASL{Mechanism: link.Plain, Username: "me", PasswordFile: filepath.Join(dir, "nowhere")}
	for name, tc := range map[string]struct {
		addr string
		tls  link.TLS
		sasl link.SASL
		want string
	}{
		"plain text":              {plainText, link.TLS{}, link.SASL{}, ""},
		"TLS":                     {secured, trusting, link.SASL{}, ""},
		"mutual TLS":              {withMutual, mutual, link.SASL{}, ""},
		"PLAIN":                   {withUsers, link.TLS{}, sasl(link.Plain, "me", password), ""},
		"PLAIN over TLS":          {withBoth, trusting, sasl(link.Plain, "me", password), ""},
		"SCRAM-SHA-256 over TLS":  {withBoth, trusting, sasl(link.ScramSHA256, "me", password), ""},
		"SCRAM-SHA-512 over TLS":  {withBoth, trusting, sasl(link.ScramSHA512, "me", password), ""},
		"TLS where there is none": {plainText, trusting, link.SASL{}, "it speaks plain text on this port: use its port for TLS, or leave kafka.tls out"},
		"no TLS where it is":      {secured, link.TLS{}, link.SASL{}, "it speaks TLS on this port: set kafka.tls.enabled, and kafka.tls.ca_file"},
		"SASL without TLS":        {withBoth, link.TLS{}, sasl(link.Plain, "me", password), "it speaks TLS on this port"},
		"unknown authority":       {secured, link.TLS{Enabled: true}, link.SASL{}, `its certificate is signed by an authority ("CN=authority") that this system does not know: set kafka.tls.ca_file`},
		"no client certificate":   {withMutual, trusting, link.SASL{}, "it wants a client certificate (it answers \"certificate required\"): set kafka.tls.cert_file and kafka.tls.key_file"},
		"no SASL":                 {withUsers, link.TLS{}, link.SASL{}, "it wants authentication by SASL, and offers PLAIN, SCRAM-SHA-256, SCRAM-SHA-512: set kafka.sasl.mechanism to what it offers"},
		"no SASL over TLS":        {withBoth, trusting, link.SASL{}, "it wants authentication by SASL"},
		"wrong password, PLAIN":   {withUsers, link.TLS{}, sasl(link.Plain, "me", "wrong-canary"), `it refuses user "me" by PLAIN: is kafka.sasl.username wrong, or the password (kafka.sasl.password or password_file)?`},
		"wrong password, SCRAM":   {withBoth, trusting, sasl(link.ScramSHA512, "me", "wrong-canary"), `it refuses user "me" by SCRAM-SHA-512`},
		"unknown user":            {withUsers, link.TLS{}, sasl(link.ScramSHA256, "you", password), `it refuses user "you" by SCRAM-SHA-256`},
		"password file missing":   {withUsers, link.TLS{}, noFile, "not authenticated: kafka.sasl.password_file: stat " + dir},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, tc.sasl.Validate("kafka.sasl"))
			err := ask(t, connectionTo(tc.addr, tc.tls, tc.sasl))
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "broker "+tc.addr+": "+tc.want)
			require.NotContains(t, err.Error(), "canary")
			require.NotContains(t, err.Error(), password)
			require.NotContains(t, err.Error(), "\n")
			_, refused := errors.AsType[*consumers.RefusedError](err)
			require.True(t, refused, "%T", err)
		})
	}
}

// A mechanism that the broker lacks is answered by those that it has.
func TestBrokerOffersOtherMechanisms(t *testing.T) {
	cluster, addr := securedBroker(t)
	cluster.ControlKey(int16(kmsg.SASLHandshake), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		resp := req.ResponseKind().(*kmsg.SASLHandshakeResponse)
		resp.ErrorCode, resp.SupportedMechanisms = 33, []string{"GSSAPI", "SCRAM-SHA-512"}
		return resp, nil, true
	})
	err := ask(t, connectionTo(addr, link.TLS{}, link.SASL{Mechanism: link.Plain, Username: "me", Password: "canary"}))
	require.ErrorContains(t, err, "broker "+addr+": it does not offer PLAIN but GSSAPI, SCRAM-SHA-512: set kafka.sasl.mechanism to what it offers")
	cluster.ControlKey(int16(kmsg.SASLHandshake), func(req kmsg.Request) (kmsg.Response, error, bool) {
		resp := req.ResponseKind().(*kmsg.SASLHandshakeResponse)
		resp.ErrorCode = 34 // as Kafka does where there is no SASL
		return resp, nil, true
	})
}

// A client goes on with a password that is changed on both sides, without being made anew: it is
// read for each connection, and when the broker wants the authentication renewed.
func TestPasswordIsReadForEachAuthentication(t *testing.T) {
	file := linktest.Write(t, filepath.Join(t.TempDir(), "password"), []byte("first\n"))
	_, addr := securedBroker(t, kfake.EnableSASL(), kfake.Superuser(link.ScramSHA256, "me", "first"), kfake.Superuser(link.Plain, "root", "root"),
		kfake.BrokerConfigs(map[string]string{"connections.max.reauth.ms": "1000"})) // the client takes it for none left, and renews before each request
	root, err := connectionTo(addr, link.TLS{}, link.SASL{Mechanism: link.Plain, Username: "root", Password: "root"}).Dial()
	require.NoError(t, err)
	defer root.Close()
	cl, err := connectionTo(addr, link.TLS{}, link.SASL{Mechanism: link.ScramSHA256, Username: "me", PasswordFile: file}).Dial()
	require.NoError(t, err)
	defer cl.Close()
	require.NoError(t, cl.Ping(t.Context()))
	for _, password := range []string{"second", "third"} {
		altered, err := kadm.NewClient(root).AlterUserSCRAMs(t.Context(), nil, []kadm.UpsertSCRAM{{User: "me", Mechanism: kadm.ScramSha256, Iterations: 4096, Password: password}})
		require.NoError(t, err)
		require.NoError(t, altered.Error())
		require.ErrorContains(t, cl.Ping(t.Context()), `it refuses user "me" by SCRAM-SHA-256`)
		linktest.Write(t, file, []byte(password+"\r\n"))
		require.NoError(t, cl.Ping(t.Context()))
	}
}

// Where Access is told, a client waits for credentials to be mended, as for a broker that is away.
func TestClientsWaitForCredentials(t *testing.T) {
	file := linktest.Write(t, filepath.Join(t.TempDir(), "password"), []byte("wrong-canary"))
	_, addr := securedBroker(t, kfake.EnableSASL(), kfake.Superuser(link.Plain, "me", "right"))
	conn := connectionTo(addr, link.TLS{}, link.SASL{Mechanism: link.Plain, Username: "me", PasswordFile: file})
	var mu sync.Mutex
	var told []error
	conn.Access = func(broker string, err error) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, err)
		require.Equal(t, addr, broker)
		if len(told) == 3 {
			linktest.Write(t, file, []byte("right"))
		}
	}
	cl, err := conn.Dial()
	require.NoError(t, err)
	defer cl.Close()
	require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: []byte("x")}).FirstErr())
	mu.Lock()
	defer mu.Unlock()
	require.GreaterOrEqual(t, len(told), 4)
	for _, err := range told[:3] {
		require.ErrorContains(t, err, "broker "+addr+`: it refuses user "me" by PLAIN`)
		require.NotContains(t, err.Error(), "canary")
	}
	require.NoError(t, told[len(told)-1])
}

// What ends each connection at once, as a port does whose broker is being restarted, is waited for:
// it is neither taken for a broker that wants TLS nor for one that wants SASL.
func TestEndedConnectionsAreNoRefusals(t *testing.T) {
	ca := linktest.NewAuthority(t, "authority")
	secure := link.TLS{CAFile: linktest.Write(t, filepath.Join(t.TempDir(), "ca.pem"), ca.PEM)}
	for name, tc := range map[string]struct {
		tls    link.TLS
		broker []kfake.Opt
	}{"plain text": {}, "TLS": {secure, []kfake.Opt{kfake.TLS(serverTLS(t, ca))}}} {
		t.Run(name, func(t *testing.T) {
			_, behind := securedBroker(t, tc.broker...)
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer listener.Close()
			var accepted atomic.Int32
			go func() { // until the listener is closed
				for {
					front, err := listener.Accept()
					if err != nil {
						return
					}
					if accepted.Add(1) <= 8 {
						front.Close()
						continue
					}
					back, err := net.Dial("tcp", behind)
					if err != nil {
						front.Close()
						continue
					}
					go func() { _, _ = io.Copy(back, front); back.Close() }() // ends with the client
					go func() { _, _ = io.Copy(front, back); front.Close() }()
				}
			}()
			require.NoError(t, ask(t, connectionTo(listener.Addr().String(), tc.tls, link.SASL{})))
			require.Greater(t, accepted.Load(), int32(8))
		})
	}
}

// OAUTHBEARER sends a token of the endpoint, and a new one when the broker renews. What the broker
// says of a bad one is told without the token.
func TestTokensAreSentAndRenewed(t *testing.T) {
	var fetched atomic.Int32
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		w.Header().Set("Content-Type", "application/json")
		if id != "me" || secret != "secret-canary" || r.FormValue("scope") != "kafka" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"error":"invalid_client","error_description":"%s is not it"}`, "wrong-canary")
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": fmt.Sprintf("token-canary-%d", fetched.Add(1)), "token_type": "bearer", "expires_in": 3600})
	}))
	defer endpoint.Close()
	cluster, addr := securedBroker(t)
	var mu sync.Mutex
	var sent []string
	answer := func(*kmsg.SASLAuthenticateResponse) {}
	cluster.ControlKey(int16(kmsg.SASLHandshake), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		return req.ResponseKind(), nil, true
	})
	cluster.ControlKey(int16(kmsg.SASLAuthenticate), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		sent = append(sent, strings.ReplaceAll(string(req.(*kmsg.SASLAuthenticateRequest).SASLAuthBytes), "\x01", "|"))
		resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		answer(resp)
		return resp, nil, true
	})
	sasl := link.SASL{Mechanism: link.OAuthBearer, Extensions: map[string]string{"logicalCluster": "lkc-1"}, OAuth: link.OAuth{
		TokenURL: endpoint.URL + "/token", ClientID: "me", ClientSecret: "secret-canary", Scopes: []string{"kafka"},
	}}
	require.NoError(t, sasl.Validate("kafka.sasl"))
	conn := connectionTo(addr, link.TLS{}, sasl)
	require.NoError(t, ask(t, conn))
	require.NoError(t, ask(t, conn))
	require.Equal(t, []string{"n,,|auth=Bearer token-canary-1|logicalCluster=lkc-1||", "n,,|auth=Bearer token-canary-1|logicalCluster=lkc-1||"}, sent)

	for said, want := range map[string]string{
		`{"status":"invalid_token","scope":"x"}`: ` (it says "invalid_token")`,
		"token-canary-1":                         "",
	} {
		answer = func(resp *kmsg.SASLAuthenticateResponse) { resp.SASLAuthBytes = []byte(said) }
		require.ErrorContains(t, ask(t, conn), `it refuses the token of client "me" by OAUTHBEARER`+want+": are kafka.sasl.oauth.client_id, scopes and audience those that it takes?")
	}
	answer = func(resp *kmsg.SASLAuthenticateResponse) {
		resp.ErrorCode, resp.ErrorMessage = 58, new("bad token-canary-1 of\nyou")
	}
	err := ask(t, conn)
	require.ErrorContains(t, err, `(it says "bad … of you")`)

	sasl.OAuth.ClientSecret = "wrong-canary"
	err = ask(t, connectionTo(addr, link.TLS{}, sasl))
	require.ErrorContains(t, err, "broker "+addr+": not authenticated: kafka.sasl.oauth.token_url: "+endpoint.URL+"/… answers 401 (invalid_client: … is not it): is kafka.sasl.oauth.client_id \"me\" wrong, or kafka.sasl.oauth.client_secret?")
	require.NotContains(t, err.Error(), "canary")
}

// A broker that ends amid its answer to a password has refused nothing: it is asked again.
func TestAnAnswerThatBreaksOffIsNoRefusal(t *testing.T) {
	_, behind := securedBroker(t, kfake.EnableSASL(), kfake.Superuser(link.Plain, "me", "right"))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	var accepted atomic.Int32
	go func() { // until the listener is closed
		for {
			front, err := listener.Accept()
			if err != nil {
				return
			}
			breaks := accepted.Add(1) <= 2
			go func() { // ends with the client
				defer front.Close()
				back, err := net.Dial("tcp", behind)
				if err != nil {
					return
				}
				defer back.Close()
				go func() { _, _ = io.Copy(back, front); back.Close() }() // ends with the client
				for range 2 {                                             // versions and mechanisms
					var size [4]byte
					if _, err := io.ReadFull(back, size[:]); err != nil {
						return
					}
					_, _ = front.Write(size[:])
					_, _ = io.CopyN(front, back, int64(binary.BigEndian.Uint32(size[:])))
				}
				if breaks {
					_, _ = io.CopyN(front, back, 5)
					return
				}
				_, _ = io.Copy(front, back)
			}()
		}
	}()
	require.NoError(t, ask(t, connectionTo(listener.Addr().String(), link.TLS{}, link.SASL{Mechanism: link.Plain, Username: "me", Password: "right"})))
	require.Greater(t, accepted.Load(), int32(2))
}
