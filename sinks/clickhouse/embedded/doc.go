// Package embedded serves the real ClickHouse engine, libchdb, behind ClickHouse's HTTP interface
// on a loopback address, so that `millrace dev` needs no server and every client talks to it as it
// talks to a cluster.
//
// It is meant for a child process of its own: libchdb holds one data directory per process, takes
// about 300 MB, and a fault in it ends the process. What was answered survives kill -9 of that
// process. A power failure may take the last inserts into a table whose settings ask for no fsync:
// see clickhouse.durability in deploy/millrace.yaml.
//
// A request is served by a fresh session of the engine (0.1 ms), so that no database, setting,
// parameter or temporary table passes from one request to the next. Insert data goes from the
// socket into an anonymous file, which the engine reads once it is complete: a body that
// ends early inserts nothing. A result goes from the engine's buffer to the socket; it is complete
// before the first byte is sent, so an error always has its HTTP status.
//
// Three things keep queries where they belong. With Config.Sandbox the kernel confines the process,
// for ever and before the engine is loaded, to the data directory and the connections that it
// accepts. Without Config.Password's password a request reads, by one statement, within
// limits, in slots of its own. And unless Config.AllowExternal says otherwise, queries that name
// files or hosts are refused with an error that says so: a courtesy, since words hide in many ways.
//
// A request has its slot before its body is read; a client that is too slow loses it. Rows of an
// insert beyond 64 MiB wait in a file of the data directory that has no name. So do the files of a
// form, which are tables of that request alone.
//
// What differs from a ClickHouse server: there is one user (and the database default also takes the
// name of a file in the working directory for a table), and no KILL QUERY by the client's query id.
// A session_id is taken, since clients send one by default, and no session is kept: a request that
// only changes its session is an error. deploy/README.md lists what clients notice.
// async_insert is 0 unless the request sets it, so that an insert is stored when it is answered.
// Native results lack the columns of a result without rows. As in ClickHouse, a client that goes
// away does not stop its query.
package embedded
