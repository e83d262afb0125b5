import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Properties;
import java.util.Set;

/**
 * What the JDBC driver of ClickHouse does with its defaults, and what DBeaver, Metabase and other tools ask it,
 * against the embedded engine.
 *
 * Usage: java Jdbc.java HOST:PORT PASSWORD
 */
class Jdbc {
    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        properties.setProperty("user", "default");
        properties.setProperty("password", args[1]);
        String url = "jdbc:ch://" + args[0] + "/";
        String database = "jdbc";
        try (Connection c = DriverManager.getConnection(url + "default", properties); Statement s = c.createStatement()) {
            s.execute("CREATE DATABASE " + database);
        }
        try (Connection c = DriverManager.getConnection(url + database, properties)) {
            check(c.isValid(10), "is valid");
            tables(c);
            types(c);
            prepared(c);
            metadata(c, database);
            errors(c);
            try (Statement s = c.createStatement()) {
                s.setMaxRows(5);
                equal(5L, count(s.executeQuery("SELECT number FROM numbers(100)")));
            }
        }
        reading(url + database);
        try (Connection c = DriverManager.getConnection(url + "default", properties); Statement s = c.createStatement()) {
            s.execute("DROP DATABASE " + database);
        }
        System.out.println("ok");
    }

    static void tables(Connection c) throws SQLException {
        try (Statement s = c.createStatement()) {
            s.execute("CREATE TABLE t (n UInt32, s String, price Decimal(18, 4), at DateTime64(6, 'UTC'), tags Array(String), x Nullable(Float64), "
                + "name LowCardinality(String), id UUID, kind Enum8('a' = 1), m Map(String, UInt8), d DateTime) ENGINE = MergeTree ORDER BY n");
            s.executeUpdate("INSERT INTO t VALUES (1, 'it''s', 12.34, '2001-02-03 04:05:06.789', ['x', 'y'], NULL, 'low', "
                + "'00000000-0000-0000-0000-000000000007', 'a', {'k': 1}, '2001-02-03 04:05:06')");
        }
    }

    static void types(Connection c) throws SQLException {
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("SELECT * FROM t")) {
            check(r.next(), "a row");
            equal(1L, r.getLong("n"));
            equal("it's", r.getString("s"));
            equal(0, r.getBigDecimal("price").compareTo(new BigDecimal("12.34")));
            equal(6789L, r.getTimestamp("at").getTime() % 10_000);
            equal(List.of("x", "y"), Arrays.asList((Object[]) r.getArray("tags").getArray()));
            r.getDouble("x");
            check(r.wasNull(), "x is null");
            equal("low", r.getString("name"));
            equal("00000000-0000-0000-0000-000000000007", r.getObject("id").toString());
            equal("a", r.getString("kind"));
            equal(11, r.getMetaData().getColumnCount());
            check(!r.next(), "no second row");
        }
        try (Statement s = c.createStatement()) {
            equal(300_000L, count(s.executeQuery("SELECT number, toString(number) FROM numbers(300000)")));
            ResultSet empty = s.executeQuery("SELECT * FROM t WHERE n > 9");
            equal(11, empty.getMetaData().getColumnCount());
            check(!empty.next(), "no rows");
        }
    }

    static void prepared(Connection c) throws SQLException {
        try (PreparedStatement p = c.prepareStatement("INSERT INTO t (n, s, at) VALUES (?, ?, ?)")) {
            for (int n = 2; n < 1000; n++) {
                p.setInt(1, n);
                p.setString(2, "\\'" + n);
                p.setTimestamp(3, new Timestamp(981_173_106_000L));
                p.addBatch();
            }
            p.executeBatch();
        }
        try (PreparedStatement p = c.prepareStatement("SELECT s FROM t WHERE n = ? AND s <> ?")) {
            p.setInt(1, 7);
            p.setString(2, "no");
            ResultSet r = p.executeQuery();
            check(r.next(), "a row");
            equal("\\'7", r.getString(1));
        }
    }

    static void metadata(Connection c, String database) throws SQLException {
        DatabaseMetaData m = c.getMetaData();
        check(m.getDatabaseProductVersion().matches("\\d+\\..*"), m.getDatabaseProductVersion());
        Set<String> databases = names(m.getSchemas(), "TABLE_SCHEM");
        databases.addAll(names(m.getCatalogs(), "TABLE_CAT")); // what the driver before 0.10 makes of them
        check(databases.contains(database), "schema " + database);
        check(names(m.getTables(null, database, "%", null), "TABLE_NAME").contains("t"), "table t");
        check(names(m.getTables(null, database, "t", new String[] {"TABLE", "VIEW"}), "TABLE_NAME").contains("t"), "table t");
        equal(11, names(m.getColumns(null, database, "t", "%"), "COLUMN_NAME").size());
        names(m.getTableTypes(), "TABLE_TYPE");
        names(m.getTypeInfo(), "TYPE_NAME");
        names(m.getPrimaryKeys(null, database, "t"), "COLUMN_NAME");
        names(m.getIndexInfo(null, database, "t", false, true), "INDEX_NAME");
        names(m.getImportedKeys(null, database, "t"), "FKCOLUMN_NAME");
        names(m.getFunctions(null, null, "%"), "FUNCTION_NAME");
    }

    static void errors(Connection c) throws SQLException {
        try (Statement s = c.createStatement()) {
            s.executeQuery("SELECT * FROM nope");
            throw new AssertionError("an unknown table was read");
        } catch (SQLException e) {
            check(e.getMessage().contains("nope"), e.getMessage());
            check(e.getErrorCode() == 60 || e.getMessage().contains("60"), "code " + e.getErrorCode());
        }
    }

    /** Who has no password connects with the defaults too, and reads. */
    static void reading(String url) throws SQLException {
        Properties nobody = new Properties();
        nobody.setProperty("password", ""); // without which the driver before 0.10 sends "null"
        try (Connection c = DriverManager.getConnection(url, nobody); Statement s = c.createStatement()) {
            ResultSet r = s.executeQuery("SELECT count() FROM t");
            check(r.next(), "a row");
            equal(999L, r.getLong(1));
            check(names(c.getMetaData().getTables(null, null, "%", null), "TABLE_NAME").contains("t"), "table t");
            s.execute("DROP TABLE t");
            throw new AssertionError("a table was dropped without the password");
        } catch (SQLException e) {
            check(e.getMessage().contains("without a password queries here only read"), e.getMessage());
        }
    }

    static Set<String> names(ResultSet r, String column) throws SQLException {
        Set<String> out = new HashSet<>();
        while (r.next()) {
            out.add(r.getString(column));
        }
        return out;
    }

    static long count(ResultSet r) throws SQLException {
        long n = 0;
        while (r.next()) {
            n++;
        }
        return n;
    }

    static void equal(Object want, Object got) {
        check(want.equals(got), "got " + got + ", want " + want);
    }

    static void check(boolean ok, String what) {
        if (!ok) {
            throw new AssertionError(what);
        }
    }
}
