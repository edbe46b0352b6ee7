using System.Collections.ObjectModel;

namespace EdgeSimulator.Accounting;

/// <summary>
/// Keeps account of every reading by (device, module, epoch, id), whichever road it came. Thread-safe. Its memory grows with the
/// gaps in the ids, not with the readings.
/// </summary>
/// <remarks>A duplicate is explained if its id was in flight when something happened that may make an honest module send it
/// again: the acknowledgement was not sent, or so shortly before that the module may not have seen it or not have acted on it.</remarks>
internal sealed class Ledger(TimeProvider time)
{
    /// <summary>How long after its acknowledgement a batch may still come again: on the wire, or acted upon but not yet on disk.</summary>
    public static readonly TimeSpan AcknowledgementGrace = TimeSpan.FromSeconds(2);

    /// <summary>More than any module keeps in flight; the oldest give way.</summary>
    const int InFlightMax = 4096;

    readonly Lock _lock = new();
    readonly Dictionary<EpochKey, EpochAccount> _epochs = [];
    readonly LinkedList<Receipt> _inFlight = new();
    readonly BacklogHistory _backlog = new();
    LastBatch? _last;
    long _batches;
    long _messages;
    long _bytes;

    /// <summary>Counts a message. Null, with the problem, if it holds no batch.</summary>
    public Receipt? Record(ReadOnlyMemory<byte> body, out string? problem)
    {
        var receipt = Accept(body, out problem);
        if (receipt is not null)
        {
            Count(receipt);
        }

        return receipt;
    }

    /// <summary>Takes a message that is in flight, before it counts as arrived. Null, with the problem, if it holds no batch.</summary>
    public Receipt? Accept(ReadOnlyMemory<byte> body, out string? problem)
    {
        var isBatch = BatchBody.TryParse(body, out var batch, out var reason);
        lock (_lock)
        {
            problem = isBatch ? null : reason;
            if (!isBatch)
            {
                _messages++;
                _bytes += body.Length;
                return null;
            }

            var key = new EpochKey(batch.Device, batch.Module, batch.Epoch);
            if (!_epochs.TryGetValue(key, out var account))
            {
                account = new EpochAccount(key);
                _epochs.Add(key, account);
            }

            var receipt = new Receipt(this, account, batch.Items, body.Length);
            _inFlight.AddLast(receipt);
            Forget();
            return receipt;
        }
    }

    /// <summary>The message has arrived where it was to go.</summary>
    public void Count(Receipt receipt)
    {
        var now = time.GetUtcNow();
        lock (_lock)
        {
            _messages++;
            _bytes += receipt.Bytes;
            _batches++;
            foreach (var item in receipt.Items)
            {
                if (receipt.Account.Add(item) && item.Sensed is { } sensed)
                {
                    _backlog.Add(sensed, now);
                }
            }

            if (receipt.Items is [var first, ..] and [.., var last])
            {
                _last = new LastBatch(first.Id, last.Id, receipt.Bytes, now - last.Sensed);
            }
        }
    }

    public void Acknowledge(Receipt receipt)
    {
        lock (_lock)
        {
            receipt.AcknowledgedAt ??= time.GetTimestamp();
        }
    }

    /// <summary>Something happened that may make the module send what is in flight again.</summary>
    public void Interrupted(string cause)
    {
        lock (_lock)
        {
            foreach (var receipt in _inFlight.Where(IsInFlight))
            {
                receipt.Account.MayRepeat(cause, receipt.Ids);
            }
        }
    }

    /// <summary>This batch may come again.</summary>
    public void Explain(string cause, Receipt? receipt)
    {
        if (receipt is not null)
        {
            lock (_lock)
            {
                receipt.Account.MayRepeat(cause, receipt.Ids);
            }
        }
    }

    /// <summary>The module says how far it has committed.</summary>
    public void Committed(EpochKey key, long lastCommittedId)
    {
        lock (_lock)
        {
            if (!_epochs.TryGetValue(key, out var account))
            {
                account = new EpochAccount(key);
                _epochs.Add(key, account);
            }

            account.LastCommittedId = Math.Max(account.LastCommittedId, lastCommittedId);
        }
    }

    /// <summary>Whether every id up to this one has arrived or was announced evicted.</summary>
    public bool IsComplete(EpochKey key, long upTo)
    {
        lock (_lock)
        {
            return _epochs.TryGetValue(key, out var account) ? !account.Lost(upTo).Any() : upTo == 0;
        }
    }

    /// <summary>The account so far; lost is what is missing up to what was committed, or up to the highest id that came.</summary>
    public LedgerSummary Summary()
    {
        lock (_lock)
        {
            var epochs = new List<EpochSummary>();
            var causes = new Dictionary<string, long>(StringComparer.Ordinal);
            foreach (var account in _epochs.Values)
            {
                var lost = account.Lost().ToList();
                epochs.Add(new EpochSummary(
                    account.Key.Device, account.Key.Module, account.Key.Epoch, account.Received, account.Unique, account.Duplicates,
                    lost.Sum(hole => hole.Last - hole.First + 1), account.Evicted(), account.MaxId, account.LastCommittedId,
                    lost));
                foreach (var (cause, count) in account.Explained)
                {
                    causes[cause] = causes.GetValueOrDefault(cause) + count;
                }
            }

            return new LedgerSummary(
                epochs.AsReadOnly(), new ReadOnlyDictionary<string, long>(causes), _batches, _messages, _bytes, _backlog.Max(), _last);
        }
    }

    /// <summary>Cheap figures for the display: readings received, messages, bytes, the last batch.</summary>
    public (long Unique, long Received, long Messages, long Bytes, LastBatch? Last) Progress()
    {
        lock (_lock)
        {
            return (_epochs.Values.Sum(e => e.Unique), _epochs.Values.Sum(e => e.Received), _messages, _bytes, _last);
        }
    }

    void Forget()
    {
        // Acknowledged in order, so the front is the oldest; a batch whose acknowledgement was lost goes by number.
        while (_inFlight.First is { } oldest && (_inFlight.Count > InFlightMax || !IsInFlight(oldest.Value)))
        {
            _inFlight.RemoveFirst();
        }
    }

    bool IsInFlight(Receipt receipt) =>
        receipt.AcknowledgedAt is not { } at || time.GetElapsedTime(at) <= AcknowledgementGrace;
}
