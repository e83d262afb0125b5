package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// amend says how answers of the broker are changed on their way to a client, by the key of the
// request: kfake follows the protocol, but the Java client and librdkafka also rely on what
// Apache Kafka does beyond it. Keys of Produce, Fetch and of all that a group does in its course
// have no entry, so that what is frequent passes as it is.
var amend = map[kmsg.Key]func(kmsg.Response, brokerDefaults){
	kmsg.ApiVersions:             withoutTelemetry,
	kmsg.CreateTopics:            createdTopics,
	kmsg.DescribeClientQuotas:    withoutNulls,
	kmsg.DescribeConfigs:         describedConfigs,
	kmsg.DescribeTopicPartitions: withoutNulls, // Java reads eligible_leader_replicas
	kmsg.ShareFetch:              sharedRecords,
}

// brokerDefaults are what topics get that do not configure it, by the names of brokers.
type brokerDefaults map[string]string

// topicNames are the configurations of a broker that are the defaults of a topic's.
var topicNames = map[string]string{
	"message.max.bytes":   "max.message.bytes",
	"log.retention.bytes": "retention.bytes",
	"log.retention.ms":    "retention.ms",
	"log.segment.bytes":   "segment.bytes",
}

// withoutTelemetry leaves out the two keys of KIP-714, as Apache Kafka does unless it has a
// receiver of the clients' metrics. Where it finds them, librdkafka logs a change of its id for
// each client, and all clients send metrics that nobody reads.
func withoutTelemetry(resp kmsg.Response, _ brokerDefaults) {
	versions := resp.(*kmsg.ApiVersionsResponse)
	versions.ApiKeys = slices.DeleteFunc(versions.ApiKeys, func(k kmsg.ApiVersionsResponseApiKey) bool {
		key := kmsg.Key(k.ApiKey)
		return key == kmsg.GetTelemetrySubscriptions || key == kmsg.PushTelemetry
	})
}

// createdTopics gives a list of configurations to every topic, and to each its source: all that
// kfake tells are of the request. Java reads both, though the topic is made, and fails.
func createdTopics(resp kmsg.Response, defaults brokerDefaults) {
	withoutNulls(resp, defaults)
	topics := resp.(*kmsg.CreateTopicsResponse).Topics
	for i := range topics {
		for j := range topics[i].Configs {
			topics[i].Configs[j].Source = int8(kmsg.ConfigSourceDynamicTopicConfig)
		}
	}
}

// describedConfigs shows the broker's configuration in those of a topic that it is the default of.
// kfake shows its own default there, which is not what holds, and the broker's beside it under the
// broker's name, which Java takes for an override of the topic. What is set for all brokers has a
// source of its own.
func describedConfigs(resp kmsg.Response, defaults brokerDefaults) {
	resources := resp.(*kmsg.DescribeConfigsResponse).Resources
	for i := range resources {
		r := &resources[i]
		if r.ResourceType == kmsg.ConfigResourceTypeTopic {
			r.Configs = slices.DeleteFunc(r.Configs, func(c kmsg.DescribeConfigsResponseResourceConfig) bool { return topicNames[c.Name] != "" })
			for broker, topic := range topicNames {
				if value, ok := defaults[broker]; ok {
					showDefault(r.Configs, topic, broker, value)
				}
			}
		}
		for j := range r.Configs {
			if c := &r.Configs[j]; r.ResourceType == kmsg.ConfigResourceTypeBroker && r.ResourceName == "" && c.Source == kmsg.ConfigSourceDynamicBrokerConfig {
				c.Source = kmsg.ConfigSourceDynamicDefaultBrokerConfig
			}
		}
	}
}

// showDefault shows a value of the broker as what a topic has by default.
func showDefault(configs []kmsg.DescribeConfigsResponseResourceConfig, topic, broker, value string) {
	i := slices.IndexFunc(configs, func(c kmsg.DescribeConfigsResponseResourceConfig) bool { return c.Name == topic })
	if i < 0 {
		return
	}
	c := &configs[i]
	if c.Source == kmsg.ConfigSourceDefaultConfig {
		c.Value, c.Source = &value, kmsg.ConfigSourceStaticBrokerConfig
	}
	for j := range c.ConfigSynonyms {
		if s := &c.ConfigSynonyms[j]; s.Source == kmsg.ConfigSourceDefaultConfig {
			s.Name, s.Value, s.Source = broker, &value, kmsg.ConfigSourceStaticBrokerConfig
		}
	}
}

// sharedRecords makes no records of them where they are null, which a share consumer of Java
// cannot read.
func sharedRecords(resp kmsg.Response, _ brokerDefaults) {
	topics := resp.(*kmsg.ShareFetchResponse).Topics
	for i := range topics {
		for j := range topics[i].Partitions {
			if p := &topics[i].Partitions[j]; p.Records == nil {
				p.Records = []byte{}
			}
		}
	}
}

// amendRequests mends what kfake reads too narrowly in requests.
func amendRequests(cluster *kfake.Cluster) {
	cluster.ControlKey(int16(kmsg.ListGroups), func(request kmsg.Request) (kmsg.Response, error, bool) {
		req := request.(*kmsg.ListGroupsRequest)
		for i, group := range req.TypesFilter {
			req.TypesFilter[i] = strings.ToLower(group) // Java asks for Consumer and Classic
		}
		return nil, nil, false // as if nothing had been done
	})
	cluster.ControlKey(int16(kmsg.DescribeUserSCRAMCredentials), func(request kmsg.Request) (kmsg.Response, error, bool) {
		if req := request.(*kmsg.DescribeUserSCRAMCredentialsRequest); len(req.Users) == 0 {
			req.Users = nil // all users, which an empty list means too
		}
		return nil, nil, false
	})
	cluster.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		// kfake keeps what it has answered by name and partition, and a topic that is gone has none: of
		// two such topics it panics.
		if req := request.(*kmsg.ProduceRequest); req.Version >= 13 && len(req.Topics) > 1 {
			for i := range req.Topics {
				req.Topics[i].Topic = string(req.Topics[i].TopicID[:])
			}
		}
		return nil, nil, false
	})
}

// withoutNulls makes every list that is null an empty one.
func withoutNulls(resp kmsg.Response, _ brokerDefaults) { fillLists(reflect.ValueOf(resp).Elem()) }

func fillLists(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			fillLists(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fillLists(v.Field(i))
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return // bytes, not a list
		}
		if v.IsNil() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		for i := range v.Len() {
			fillLists(v.Index(i))
		}
	default:
	}
}

// amended is a listener whose connections amend answers, and refuse what is no request of Kafka's
// protocol. It must see what clients send in plain text: with TLS, it listens to what decrypts.
type amended struct {
	net.Listener
	defaults   brokerDefaults
	attendance *attendance
}

// Accept implements net.Listener.
func (l amended) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &amendedConn{Conn: conn, defaults: l.defaults, attendance: l.attendance}, nil
}

const (
	// sizeBytes are the size that precedes a request and an answer.
	sizeBytes = 4
	// headBytes are the size of a request, its key, version and correlation id.
	headBytes = sizeBytes + 2 + 2 + 4
	// maxRequestBytes is above what a client of this program sends, and what others send by
	// default. kfake allocates as much as a client announces: a browser's GET is 1.2 GB.
	maxRequestBytes = 128 << 20
)

// amendedConn follows the requests that are read from it by their heads. Of requests whose
// answers are amended or may wait for other members of a group it keeps the head until the answer
// is written. One goroutine reads and one writes, as kfake does.
type amendedConn struct {
	net.Conn
	defaults   brokerDefaults
	attendance *attendance

	head [headBytes]byte // of the request that is being read
	have int             // bytes of head that were read
	left int             // bytes of the request that are still to be read, behind its head
	body []byte          // of a request that may wait, as far as it was read

	mu     sync.Mutex
	asked  []asked
	closed bool
}

// asked is a request whose answer is to be amended, or may be waited for by a member of a group.
type asked struct {
	key, version int16
	correlation  int32
	seat         *seat
}

// errNoRequest ends a connection on which something else than Kafka's protocol is spoken.
var errNoRequest = errors.New("embedded kafka: not a request of Kafka's protocol")

// Read implements net.Conn.
func (c *amendedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if bad := c.follow(p[:n]); bad != nil {
		return 0, bad
	}
	return n, err
}

// follow counts off what was read. It fails as soon as a request's size, and then its key, cannot
// be: kfake would allocate the one, and panic at the other.
func (c *amendedConn) follow(p []byte) error {
	for len(p) > 0 {
		if c.left > 0 {
			skipped := min(c.left, len(p))
			c.keep(p[:skipped])
			c.left -= skipped
			p = p[skipped:]
			if c.left == 0 {
				c.wait()
			}
			continue
		}
		taken := copy(c.head[c.have:], p)
		p = p[taken:]
		c.have += taken
		if c.have < sizeBytes {
			continue
		}
		size := binary.BigEndian.Uint32(c.head[:])
		if size < headBytes-sizeBytes || size > maxRequestBytes {
			return fmt.Errorf("%w: of %d bytes", errNoRequest, size)
		}
		if c.have < headBytes {
			continue
		}
		c.have, c.left = 0, int(size)-(headBytes-sizeBytes)
		request := c.request()
		if kmsg.RequestForKey(request.key) == nil {
			return fmt.Errorf("%w: key %d", errNoRequest, request.key)
		}
		if amend[kmsg.Key(request.key)] != nil {
			c.mu.Lock()
			c.asked = append(c.asked, request)
			c.mu.Unlock()
		}
	}
	return nil
}

// request returns the head of the request that is being read.
func (c *amendedConn) request() asked {
	return asked{
		key:         int16(binary.BigEndian.Uint16(c.head[4:])),
		version:     int16(binary.BigEndian.Uint16(c.head[6:])),
		correlation: int32(binary.BigEndian.Uint32(c.head[8:])),
	}
}

// keep keeps what was read of a request that may wait.
func (c *amendedConn) keep(p []byte) {
	if request := c.request(); seated(request.key) && len(c.body)+c.left <= maxSeatBytes {
		c.body = append(c.body, p...)
	}
}

// wait has the attendance look after a request that was read and may wait.
func (c *amendedConn) wait() {
	request, body := c.request(), c.body
	c.body = nil
	if c.attendance == nil || len(body) == 0 {
		return
	}
	request.seat = c.attendance.take(request, body, c.RemoteAddr().String(), func() { c.refuse(request) })
	if request.seat == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked = append(c.asked, request); c.closed {
		c.attendance.left(request.seat)
	}
}

// refuse answers a request of a member that kfake has forgotten, as Apache Kafka does when it removes
// one that waits. Then it closes the connection: kfake handles nothing more from it.
func (c *amendedConn) refuse(request asked) {
	resp := kmsg.ResponseForKey(request.key)
	resp.SetVersion(request.version)
	switch resp := resp.(type) {
	case *kmsg.JoinGroupResponse:
		resp.ErrorCode = kerr.UnknownMemberID.Code
	case *kmsg.SyncGroupResponse:
		resp.ErrorCode = kerr.UnknownMemberID.Code
	}
	head := make([]byte, 2*sizeBytes, 3*sizeBytes)
	binary.BigEndian.PutUint32(head[sizeBytes:], uint32(request.correlation))
	if resp.IsFlexible() {
		head = append(head, 0) // no tagged fields
	}
	answer := resp.AppendTo(head)
	binary.BigEndian.PutUint32(answer, uint32(len(answer)-sizeBytes))
	_, _ = c.Conn.Write(answer) // or its client is gone
	_ = c.Conn.Close()          // kfake sees it
}

// Close implements net.Conn.
func (c *amendedConn) Close() error {
	c.mu.Lock()
	c.closed = true
	for _, request := range c.asked {
		if request.seat != nil {
			c.attendance.left(request.seat)
		}
	}
	c.mu.Unlock()
	return c.Conn.Close()
}

// Write implements net.Conn. kfake writes each answer by one call.
func (c *amendedConn) Write(p []byte) (int, error) {
	request, ok := c.answered(p)
	if ok && request.seat != nil {
		c.attendance.answered(request.seat)
	}
	if !ok || amend[kmsg.Key(request.key)] == nil {
		return c.Conn.Write(p)
	}
	answer, err := amendAnswer(request, p, c.defaults)
	if err != nil {
		return 0, fmt.Errorf("embedded kafka: amend answer to %s version %d: %w", kmsg.NameForKey(request.key), request.version, err)
	}
	if _, err := c.Conn.Write(answer); err != nil {
		return 0, err
	}
	return len(p), nil
}

// answered takes the request to which p is the answer from those that are asked.
func (c *amendedConn) answered(p []byte) (asked, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.asked) == 0 || len(p) < 2*sizeBytes {
		return asked{}, false
	}
	correlation := int32(binary.BigEndian.Uint32(p[sizeBytes:]))
	i := slices.IndexFunc(c.asked, func(a asked) bool { return a.correlation == correlation })
	if i < 0 {
		return asked{}, false
	}
	request := c.asked[i]
	c.asked = slices.Delete(c.asked, i, i+1)
	return request, true
}

// amendAnswer returns the amended form of an answer: its size, its correlation id, and where the
// version is a flexible one of another key than ApiVersions, its tagged fields, of which kfake has
// none.
func amendAnswer(request asked, p []byte, defaults brokerDefaults) ([]byte, error) {
	resp := kmsg.ResponseForKey(request.key)
	resp.SetVersion(request.version)
	head := 2 * sizeBytes
	if versions, ok := resp.(*kmsg.ApiVersionsResponse); ok {
		if len(p) < head+2 {
			return nil, errors.New("no error code")
		}
		// A version that the broker does not have is answered in version 0, by this code.
		if code := int16(binary.BigEndian.Uint16(p[head:])); code == kerr.UnsupportedVersion.Code {
			versions.SetVersion(0)
		}
	} else if resp.IsFlexible() {
		head++
	}
	if len(p) < head {
		return nil, errors.New("no head")
	}
	if err := resp.ReadFrom(p[head:]); err != nil {
		return nil, err
	}
	amend[kmsg.Key(request.key)](resp, defaults)
	answer := resp.AppendTo(slices.Clone(p[:head]))
	binary.BigEndian.PutUint32(answer, uint32(len(answer)-sizeBytes))
	return answer, nil
}
