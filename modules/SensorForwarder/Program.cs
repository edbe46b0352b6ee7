Console.WriteLine("SensorForwarder");
