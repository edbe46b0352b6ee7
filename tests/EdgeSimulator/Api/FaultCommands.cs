using System.Text.Json;
using System.Text.Json.Nodes;
using EdgeSimulator.Display;
using EdgeSimulator.Faults;

namespace EdgeSimulator.Api;

/// <summary>Serves /faults: sets the faults of <see cref="FaultTable"/> and runs one-time actions such as a kill. An
/// invalid entry rejects the whole request.</summary>
internal sealed class FaultCommands(FaultSwitches faults, IReadOnlyDictionary<string, Action> actions, RunLog log)
{
    const string Reset = "reset";

    public void Apply(JsonObject request)
    {
        var changes = new List<Func<FaultSettings, FaultSettings>>();
        var runs = new List<Action>();
        foreach (var (name, node) in request)
        {
            var value = JsonSerializer.SerializeToElement(node);
            if (name == Reset || actions.ContainsKey(name))
            {
                if (value.ValueKind != JsonValueKind.True)
                {
                    throw Problem.BadRequest($"{name}: the only allowed value is true, not {value.GetRawText()}");
                }

                if (name == Reset)
                {
                    changes.Insert(0, _ => new FaultSettings());
                }
                else
                {
                    runs.Add(actions[name]);
                }

                continue;
            }

            var entry = FaultTable.Entries.FirstOrDefault(entry => entry.Name == name)
                ?? throw Problem.BadRequest($"unknown fault '{name}'; GET /faults lists all faults");
            if (entry.Set(new FaultSettings(), value) is null)
            {
                throw Problem.BadRequest($"{name}: {value.GetRawText()} is not allowed; allowed: {entry.Allowed}");
            }

            changes.Add(settings => entry.Set(settings, value)!);
        }

        log.Write($"faults set by POST /faults: {request.ToJsonString()}");
        faults.Update(settings => changes.Aggregate(settings, (current, change) => change(current)));
        runs.ForEach(run => run());
    }

    public JsonObject Describe()
    {
        var current = faults.Current;
        var document = new JsonObject();
        foreach (var entry in FaultTable.Entries)
        {
            document[entry.Name] = new JsonObject
            {
                ["value"] = entry.Get(current),
                ["allowed"] = entry.Allowed,
                ["text"] = entry.Text,
            };
        }

        document[Reset] = new JsonObject { ["allowed"] = "true", ["text"] = "turns all faults off" };
        foreach (var name in actions.Keys)
        {
            document[name] = new JsonObject { ["allowed"] = "true", ["text"] = $"runs once: {name}" };
        }

        return document;
    }
}
