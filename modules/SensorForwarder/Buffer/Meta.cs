using Microsoft.Data.Sqlite;
using SensorForwarder.Readings;

namespace SensorForwarder.Buffer;

/// <summary>The table <c>meta</c>, one property per key; the keys are known only here. Not thread-safe.</summary>
/// <param name="cipher">Seals the state; null: unencrypted.</param>
internal sealed class Meta(SqliteConnection connection, Cipher? cipher)
{
    /// <summary>When the file was created, in unix milliseconds.</summary>
    public long CreatedAtMs
    {
        set => Set("created_at", value);
    }

    /// <summary>A known text sealed with the file's key; null in an unencrypted file.</summary>
    public string? KeyCheck
    {
        get => Get("key_check");
        set => Set("key_check", value);
    }

    /// <summary>The state last written by a transaction without readings; null when missing or unreadable.</summary>
    public QueueState? State
    {
        get
        {
            using var query = Find("state");
            return query.Step() ? ReadState(query, 0, cipher) : null;
        }
        set
        {
            using var insert = connection.Prepare("INSERT OR REPLACE INTO meta(name, value) VALUES('state', ?1)");
            BindState(insert, 1, value!, cipher);
            insert.Run();
        }
    }

    /// <summary>The serialised <see cref="ThinningLevels"/>.</summary>
    public string Levels
    {
        get => Get("levels") ?? "";
        set => Set("levels", value);
    }

    /// <summary>The unfinished salvages, each as <see cref="SalvageProgress.Text"/>; newest first.</summary>
    public IReadOnlyList<string> Salvaging
    {
        get => Get("salvaging")?.Split("\n\n") ?? [];
        set => Set("salvaging", value.Count == 0 ? null : string.Join("\n\n", value));
    }

    /// <summary>The last finished salvage, as <see cref="SalvageReport.Text"/>.</summary>
    public string? Salvaged
    {
        get => Get("salvaged");
        set => Set("salvaged", value);
    }

    /// <summary>The ids of <see cref="StoreView.Urgent"/>. An older version of the module does not know them and sends
    /// these readings in the order of their ids.</summary>
    public IdSet Urgent
    {
        get => IdSet.TryParse(Get("urgent") ?? "") ?? IdSet.Empty;
        set => Set("urgent", value.IsEmpty ? null : value.ToString());
    }

    /// <summary>A small write, to test whether the volume is writable.</summary>
    public void Probe() => Set("probe", Number("probe") + 1);

    public static QueueState? ReadState(Statement row, int column, Cipher? cipher)
    {
        if (row.IsNull(column))
            return null;
        if (cipher is null)
            return row.IsBlob(column) ? null : QueueState.TryParse(row.Text(column));
        return row.IsBlob(column) ? cipher.UnsealState(row.Bytes(column)) : null;
    }

    public static void BindState(Statement statement, int index, QueueState state, Cipher? cipher) => _ = cipher is null
        ? statement.Bind(index, state.Write())
        : statement.BindBlob(index, cipher.SealState(state));

    Statement Find(string name)
    {
        var query = connection.Prepare("SELECT value FROM meta WHERE name = ?1");
        query.Bind(1, name);
        return query;
    }

    string? Get(string name)
    {
        using var query = Find(name);
        return query.Step() && !query.IsNull(0) ? query.Text(0) : null;
    }

    long Number(string name)
    {
        using var query = Find(name);
        return query.Step() ? query.Number(0) : 0;
    }

    void Set(string name, long value)
    {
        using var insert = connection.Prepare("INSERT OR REPLACE INTO meta(name, value) VALUES(?1, ?2)");
        insert.Bind(1, name).Bind(2, value).Run();
    }

    void Set(string name, string? value)
    {
        using var change = connection.Prepare(value is null
            ? "DELETE FROM meta WHERE name = ?1"
            : "INSERT OR REPLACE INTO meta(name, value) VALUES(?1, ?2)");
        change.Bind(1, name);
        if (value is not null)
            change.Bind(2, value);
        change.Run();
    }
}
