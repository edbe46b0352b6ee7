using System.Diagnostics;

namespace Deployment.Tests;

/// <summary><c>.devcontainer/check-manifest</c> reports why iotedgehubdev would not start a manifest.</summary>
public sealed class ManifestCheckTests : IDisposable
{
    readonly string _file = Path.GetTempFileName();

    public void Dispose() => File.Delete(_file);

    static Dictionary<string, string> Environment(params (string Name, string Value)[] values)
    {
        var environment = Repository.Environment();
        foreach (var name in (string[])["USERNAME", "PASSWORD"]) environment[$"CONTAINER_REGISTRY_{name}"] = "x";
        foreach (var (name, value) in values) environment[name] = value;
        return environment;
    }

    string Check(string template, Dictionary<string, string> environment, string host = "")
    {
        Assert.SkipUnless(File.Exists("/usr/bin/python3"), "Python is not installed");
        const string Root = "\"ReadonlyRootfs\"";
        var text = Repository.Read(template);
        Assert.Contains(Root, text, StringComparison.Ordinal);
        text = text.Replace(Root, host + Root, StringComparison.Ordinal);
        File.WriteAllText(_file, Template.Expand(text, "amd64", environment).ToJsonString());
        using var check = Process.Start(new ProcessStartInfo("/usr/bin/python3", [Path.Combine(Repository.Root, ".devcontainer/check-manifest"), _file])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        var (output, error) = (check.StandardOutput.ReadToEnd(), check.StandardError.ReadToEnd());
        check.WaitForExit();
        Assert.Equal("", error);
        Assert.Equal(output.Length == 0 ? 0 : 1, check.ExitCode);
        return output;
    }

    [Fact]
    public void The_manifest_check_accepts_the_debug_manifest() => Assert.Equal("", Check("deployment.debug.template.json", Environment()));

    [Fact]
    public void The_manifest_check_names_empty_variables()
    {
        var output = Check("deployment.template.json", Environment(("EDGE_RUNTIME_VERSION", ""), ("CONTAINER_REGISTRY_PASSWORD", "")), """ "GroupAdd": [""],""");
        Assert.Contains("edgeHub: the image 'mcr.microsoft.com/azureiotedge-hub:' is incomplete: set CONTAINER_REGISTRY_SERVER and EDGE_RUNTIME_VERSION in .env", output, StringComparison.Ordinal);
        Assert.Contains("the password of the registry is empty: set CONTAINER_REGISTRY_PASSWORD in .env", output, StringComparison.Ordinal);
        Assert.Contains("SensorForwarder: a group in GroupAdd is empty: write the numbers that getent group i2c gpio prints on the device", output, StringComparison.Ordinal);
    }

    [Fact]
    public void The_manifest_check_names_a_missing_device()
    {
        Assert.SkipWhen(File.Exists("/dev/i2c-1"), "this machine has the device");
        const string Device = """ "Devices": [{ "PathOnHost": "/dev/i2c-1", "PathInContainer": "/dev/i2c-1", "CgroupPermissions": "rw" }],""";
        Assert.Contains("SensorForwarder: this machine has no /dev/i2c-1", Check("deployment.template.json", Environment(), Device), StringComparison.Ordinal);
    }
}
